//! Components become native code in a process of their own: a compiler is much code that meets the bytes of strangers, cannot
//! be interrupted, and may take any amount of memory. The process has as much of both as it is given, and the least urgent
//! claim to the processor.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use wasmtime::Engine;

use crate::classes::ClassError;
use crate::isolate::new_engine;
use crate::limits::COMPONENT_BYTES_MAX;

/// The command by which facetd runs itself.
pub(crate) const COMMAND: &str = "compile-component";
/// Processor time of one component, s. The largest that toolchains make, 11 MB of SpiderMonkey, needs 20.
const CPU_S_MAX: u64 = 120;
/// The same by the clock: it may have to wait for facets, which go first.
const WALL_MAX: Duration = Duration::from_secs(300);
/// Address space of the process, bytes.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// What a component becomes, bytes.
const ARTEFACT_BYTES_MAX: u64 = 1 << 30;
/// Threads of the process: their stacks and arenas count as memory.
const THREADS_MAX: usize = 4;
/// What it says about a component that it cannot compile, bytes.
const MESSAGE_BYTES_MAX: u64 = 4_096;
/// Below everything else that wants the processor.
const NICE: i32 = 15;
/// The exit code for a component that is no good, as opposed to a process that is not.
const EXIT_INVALID: u8 = 3;

/// Who compiles.
#[derive(Clone)]
pub(super) enum Compiler {
    /// This process, which nothing protects from what it compiles.
    Here(Engine),
    /// `PROGRAM compile-component`, from standard input to standard output.
    Program(Arc<Path>),
}

impl Compiler {
    pub(super) fn new(engine: &Engine, program: Option<&PathBuf>) -> Self {
        match program {
            Some(program) => Self::Program(program.as_path().into()),
            None => Self::Here(engine.clone()),
        }
    }

    /// Native code for the component in a file. Takes long; the future may be dropped, the work goes on.
    pub(super) async fn compile(&self, component: PathBuf) -> Result<Vec<u8>, ClassError> {
        match self {
            Self::Here(engine) => {
                let engine = engine.clone();
                in_thread(move || {
                    let bytes = std::fs::read(component)?;
                    engine
                        .precompile_component(&bytes)
                        .map_err(|error| ClassError::Invalid(format!("{error:#}")))
                })
                .await
            }
            Self::Program(program) => in_process(program.clone(), component).await,
        }
    }
}

async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClassError> + Send + 'static,
) -> Result<T, ClassError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => Err(ClassError::Io(Arc::new(std::io::Error::other(panicked)))),
    }
}

/// The process, from its start until it has been waited for.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<Option<Child>>>);

impl Running {
    fn kill(&self) {
        if let Some(child) = &mut *self.0.lock().expect("nothing panics while it holds this lock") {
            // An error means that it has ended.
            let _ = child.kill();
        }
    }
}

async fn in_process(program: Arc<Path>, component: PathBuf) -> Result<Vec<u8>, ClassError> {
    let running = Running::default();
    let in_thread = in_thread({
        let running = running.clone();
        move || run(&program, &component, &running)
    });
    match tokio::time::timeout(WALL_MAX, in_thread).await {
        Ok(done) => done,
        Err(_elapsed) => {
            running.kill();
            Err(too_dear(&format!("{} s", WALL_MAX.as_secs())))
        }
    }
}

fn too_dear(what: &str) -> ClassError {
    ClassError::TooDear(what.to_owned())
}

fn run(program: &Path, component: &Path, running: &Running) -> Result<Vec<u8>, ClassError> {
    let mut child = Command::new(program)
        .arg(COMMAND)
        // What the operator's environment holds is no business of a process that reads strangers' bytes.
        .env_clear()
        .env("RAYON_NUM_THREADS", threads().to_string())
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(File::open(component)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (mut out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    *running.0.lock().expect("nothing panics while it holds this lock") = Some(child);
    let mut artefact = Vec::new();
    let read = (&mut out).take(ARTEFACT_BYTES_MAX + 1).read_to_end(&mut artefact);
    let too_long = artefact.len() as u64 > ARTEFACT_BYTES_MAX;
    if too_long || read.is_err() {
        running.kill();
    }
    // It writes this last, and little: while it writes the other, nothing waits in here.
    let mut message = String::new();
    let _ = err.take(MESSAGE_BYTES_MAX).read_to_string(&mut message);
    let mut child = running
        .0
        .lock()
        .expect("nothing panics while it holds this lock")
        .take()
        .expect("only this thread takes it");
    let status = child.wait()?;
    read?;
    if too_long {
        return Err(too_dear(&format!("{} MiB of native code", ARTEFACT_BYTES_MAX >> 20)));
    }
    match verdict(status) {
        Verdict::Compiled => Ok(artefact),
        Verdict::Invalid => Err(ClassError::Invalid(message.trim().to_owned())),
        Verdict::TooLong => Err(too_dear(&format!("{CPU_S_MAX} s of processor time"))),
        Verdict::Died => Err(too_dear(&format!(
            "{} MiB of memory, or the compiler failed ({status}): {}",
            MEMORY_BYTES_MAX >> 20,
            message.lines().next().unwrap_or("it said nothing")
        ))),
    }
}

enum Verdict {
    Compiled,
    Invalid,
    TooLong,
    Died,
}

fn verdict(status: ExitStatus) -> Verdict {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = status.signal();
    if status.success() {
        Verdict::Compiled
    } else if status.code() == Some(i32::from(EXIT_INVALID)) {
        Verdict::Invalid
    } else if signal == Some(Signal::XCPU.as_raw()) || signal == Some(Signal::KILL.as_raw()) {
        Verdict::TooLong
    } else {
        Verdict::Died
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX))
}

/// What the process does: a component from standard input, native code to standard output.
pub(crate) fn main() -> ExitCode {
    match compile_stdin() {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            // Names in it are as long as the component's author likes; a pipe that is full would hold this process.
            let message: String = message.chars().take(MESSAGE_BYTES_MAX as usize / 4).collect();
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

fn compile_stdin() -> Result<(), (u8, String)> {
    let failed = |error: &dyn std::fmt::Display| (1, error.to_string());
    confine().map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(COMPONENT_BYTES_MAX as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    let engine = new_engine().map_err(|error| failed(&error))?;
    let artefact = engine
        .precompile_component(&bytes)
        .map_err(|error| (EXIT_INVALID, format!("{error:#}")))?;
    std::io::stdout().write_all(&artefact).map_err(|error| failed(&error))
}

/// Takes from this process what compiling does not need.
fn confine() -> std::io::Result<()> {
    let set = |resource, most: u64| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit)
    };
    // A host that is killed does not leave it behind.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::nice(NICE)?;
    set(Resource::Cpu, CPU_S_MAX)?;
    set(Resource::As, MEMORY_BYTES_MAX)?;
    set(Resource::Core, 0)?;
    // It writes to a pipe, and to no file.
    set(Resource::Fsize, 0)?;
    Ok(())
}
