//! No child process outlives its [`Process`], and no wait for one is without a limit.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How long a killed process may take to be gone; beyond it the machine is stuck, not the test.
const KILLED_LIMIT: Duration = Duration::from_secs(30);

/// A running child. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    exited: Receiver<()>,
    status: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("could not start {command:?}"))?;
        let pid = Pid::from_child(&child);
        let (tell, exited) = channel();
        // Tells of the end without reaping (NOWAIT): until `wait` reaps, the pid is ours and can be signalled safely.
        thread::spawn(move || {
            while let Err(rustix::io::Errno::INTR) =
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            {}
            let _ = tell.send(());
        });
        Ok(Self {
            child,
            pid,
            exited,
            status: None,
        })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// The exit status, or none if the process still runs after `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            if let Err(RecvTimeoutError::Timeout) = self.exited.recv_timeout(limit) {
                return Ok(None);
            }
            self.status = Some(self.child.wait().context("could not reap a child")?);
        }
        Ok(self.status)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            bail!("the process has ended already");
        }
        kill_process(self.pid, signal).context("could not signal a child")
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.status.is_none() {
            self.signal(Signal::KILL)?;
            self.wait(KILLED_LIMIT)?.context("a process survived SIGKILL")?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end, or kills it after `limit` and answers an error with what it said until then. `each` sees
/// its stderr as it comes.
pub(crate) fn run(command: &mut Command, limit: Duration, each: fn(&str)) -> Result<Output> {
    let mut process = Process::spawn(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let stdout = read_all(process.child().stdout.take(), |_| ());
    let stderr = read_all(process.child().stderr.take(), each);
    let status = process.wait(limit)?;
    if status.is_none() {
        process.kill()?;
    }
    // The pipes close with the process, so these joins end, unless it left children of its own behind.
    let stdout = stdout
        .recv_timeout(KILLED_LIMIT)
        .context("stdout stayed open after the end")?;
    let stderr = stderr
        .recv_timeout(KILLED_LIMIT)
        .context("stderr stayed open after the end")?;
    match status {
        Some(status) => Ok(Output { status, stdout, stderr }),
        None => bail!("{command:?} did not end within {limit:?}; it said:\n{stdout}\n{stderr}"),
    }
}

fn read_all(pipe: Option<impl Read + Send + 'static>, each: fn(&str)) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        if let Some(mut pipe) = pipe {
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                each(&String::from_utf8_lossy(&chunk[..n]));
                all.extend_from_slice(&chunk[..n]);
            }
        }
        let _ = tell.send(String::from_utf8_lossy(&all).into_owned());
    });
    told
}
