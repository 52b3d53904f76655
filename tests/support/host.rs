//! A test host is the real binary on a directory of its own, and it never outlives the test that started it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use super::client::Response;
use super::components;
use super::process::Process;
use super::wire::Wire;
use super::{repository, tail};

/// From `exec` to the line that says that it serves. Compiling the puppet with an unoptimised host takes seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The same where the host first builds its components: a toolchain may have to be fetched.
const BUILD_AND_START_LIMIT: Duration = Duration::from_secs(20 * 60);
/// From SIGTERM to the end: the journal is flushed and every database checkpointed.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Where data directories lie.
const TMP: &str = env!("CARGO_TARGET_TMPDIR");
pub(crate) const SERVING: &str = "facetd listening on ";
/// Before it, if the admin API has an address.
const ADMIN: &str = "facetd admin at ";
const LOG_LINES_SHOWN: usize = 60;

/// A data directory, and the host process that serves it, if one runs.
pub(crate) struct Host {
    config: PathBuf,
    /// `facetd dev` instead of `facetd serve`.
    dev: bool,
    /// Not a directory of the test's, but the one that the config names.
    configured_data: bool,
    dir: Option<TempDir>,
    running: Option<Running>,
    env: Vec<(String, String)>,
    /// Who is told each line of the log, and when it came.
    lines: Option<Sender<(Instant, String)>>,
}

struct Running {
    process: Process,
    url: String,
    /// If it is an address.
    admin_url: Option<String>,
}

impl Host {
    /// An empty data directory; nothing runs yet. Builds the components of `config` if this process has not done so.
    pub(crate) fn new(config: &Path) -> Result<Self> {
        components::build(config)?;
        Self::without_build(config)
    }

    /// The same in memory, where there is such a directory: for hosts that are killed and never lose power, so that no
    /// sync counts.
    pub(crate) fn in_memory(config: &Path) -> Result<Self> {
        components::build(config)?;
        let memory = Path::new("/dev/shm");
        Self::in_dir(config, if memory.is_dir() { memory } else { Path::new(TMP) })
    }

    /// The same for a config that names no class to be built.
    pub(crate) fn without_build(config: &Path) -> Result<Self> {
        Self::in_dir(config, Path::new(TMP))
    }

    fn in_dir(config: &Path, parent: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("facetd-").tempdir_in(parent)?;
        Ok(Self {
            config: config.to_owned(),
            dev: false,
            configured_data: false,
            dir: Some(dir),
            running: None,
            env: Vec::new(),
            lines: None,
        })
    }

    /// `facetd dev`, which builds what it serves; `project` is relative to the top of the repository, as in a README.
    pub(crate) fn dev(project: &str) -> Result<Self> {
        let mut host = Self::without_build(Path::new(project))?;
        host.dev = true;
        Ok(host)
    }

    /// `facetd dev` from the next start on.
    pub(crate) fn make_dev(&mut self) {
        self.dev = true;
    }

    /// The data directory of the config, instead of one of its own.
    pub(crate) fn use_configured_data(&mut self) {
        self.configured_data = true;
    }

    /// A variable of the environment of every host started from now on.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Takes it out of the environment of every host started from now on.
    pub(crate) fn unset_env(&mut self, name: &str) {
        self.env.retain(|(other, _)| other != name);
    }

    /// Has each line of the log, of every host started from now on, sent there as it comes.
    pub(crate) fn watch_log(&mut self, lines: Sender<(Instant, String)>) {
        self.lines = Some(lines);
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().expect("only taken in drop").path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("stderr")
    }

    /// `facetd serve` on this data directory, not started.
    pub(crate) fn serve_command(&self) -> Command {
        let mut command = Command::new(components::FACETD);
        if self.dev {
            command.arg("dev").arg(&self.config).current_dir(repository());
        } else {
            command.arg("serve").arg("--config").arg(&self.config);
        }
        if !self.configured_data {
            command.arg("--data").arg(self.data());
        }
        command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        // Tests read what it logs.
        command.env("NO_COLOR", "1");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Where the admin API of a running host is.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.data().join("admin.sock")
    }

    /// Where it is if it is an address: then the running host says so.
    pub(crate) fn admin_url(&self) -> Option<String> {
        self.running.as_ref()?.admin_url.clone()
    }

    /// A GET of the admin API of the host, started if it does not run.
    pub(crate) fn admin(&mut self, path: &str) -> Result<Response> {
        self.url()?;
        Wire::unix(&self.admin_socket())?.get(path, &[])
    }

    /// The address of the running host, started if it does not run.
    pub(crate) fn url(&mut self) -> Result<String> {
        if self.running.is_none() {
            self.running = Some(self.start().map_err(|e| anyhow!("{e:#}\n{}", self.log()))?);
        }
        Ok(self.running.as_ref().expect("just started").url.clone())
    }

    fn start(&self) -> Result<Running> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.serve_command();
        command.stdout(Stdio::piped());
        match &self.lines {
            None => command.stderr(log.try_clone()?),
            Some(_) => command.stderr(Stdio::piped()),
        };
        let mut process = Process::spawn(&mut command)?;
        if let (Some(lines), Some(stderr)) = (self.lines.clone(), process.child().stderr.take()) {
            thread::spawn(move || tee(stderr, log, &lines));
        }
        let stdout = process.child().stdout.take().context("stdout was piped")?;
        let (tell, told) = channel();
        // Reads on after the line, so that the host never blocks on a full pipe.
        thread::spawn(move || {
            let mut admin_url = None;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix(ADMIN) {
                    admin_url = Some(url.trim().to_owned());
                }
                if let Some(url) = line.strip_prefix(SERVING) {
                    let _ = tell.send((url.trim().to_owned(), admin_url.clone()));
                }
            }
        });
        let limit = if self.dev { BUILD_AND_START_LIMIT } else { START_LIMIT };
        match told.recv_timeout(limit) {
            Ok((url, admin_url)) => Ok(Running {
                process,
                url,
                admin_url,
            }),
            // Either stdout was closed, so it ended by itself, or time is up; dropping `process` kills it.
            Err(_) => bail!("the host did not print \"{SERVING}http://...\" on stdout within {limit:?}"),
        }
    }

    /// Starts the host and kills it, wherever it has got to after `pause`.
    pub(crate) fn kill_while_starting(&mut self, pause: Duration) -> Result<()> {
        self.kill()?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut process = Process::spawn(self.serve_command().stdout(Stdio::null()).stderr(log))?;
        match process.wait(pause)? {
            Some(status) => bail!("the host ended by itself while starting: {status}"),
            None => process.kill(),
        }
    }

    /// The number of its process, while one runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process.id())
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut()?.process.wait(Duration::ZERO).ok()?
    }

    /// SIGTERM and exit code 0. A host that does not run is stopped already.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        running.process.signal(Signal::TERM)?;
        match running.process.wait(STOP_LIMIT)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the host did not stop cleanly: {status}\n{}", self.log()),
            None => bail!("the host did not stop within {STOP_LIMIT:?} of SIGTERM\n{}", self.log()),
        }
    }

    /// SIGTERM, unless it has ended by itself, and how it ended. None if nothing runs.
    pub(crate) fn finish(&mut self) -> Result<Option<ExitStatus>> {
        let Some(mut running) = self.running.take() else {
            return Ok(None);
        };
        running.process.signal(Signal::TERM)?;
        self.ended(&mut running.process)
    }

    /// Waits until it ends by itself, and how.
    pub(crate) fn wait(&mut self) -> Result<Option<ExitStatus>> {
        match self.running.take() {
            Some(mut running) => self.ended(&mut running.process),
            None => Ok(None),
        }
    }

    fn ended(&self, process: &mut Process) -> Result<Option<ExitStatus>> {
        match process.wait(STOP_LIMIT)? {
            Some(status) => Ok(Some(status)),
            None => bail!("the host did not end within {STOP_LIMIT:?}\n{}", self.log()),
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        match self.running.take() {
            Some(mut running) => running.process.kill(),
            None => Ok(()),
        }
    }

    /// What the host wrote to stderr, over all its runs.
    pub(crate) fn whole_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The end of it, to be shown.
    pub(crate) fn log(&self) -> String {
        format!(
            "--- stderr of the host ---\n{}\n---",
            tail(&self.whole_log(), LOG_LINES_SHOWN)
        )
    }
}

/// Writes on what comes, so that the log is where it always is.
fn tee(from: ChildStderr, mut log: File, lines: &Sender<(Instant, String)>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        let _ = lines.send((Instant::now(), line.clone()));
        let _ = writeln!(log, "{line}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.kill();
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        // For looking at what a failed test left on disk.
        if std::env::var_os("FACETD_TEST_KEEP").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept {}", dir.keep().display());
        }
    }
}
