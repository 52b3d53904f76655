//! A disk that loses its power. The simulator sees every call by which the journal makes something durable; at one of them,
//! or in the middle of it, it takes what a power failure may leave, or a kill, and everything goes on from there.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use super::random::Random;
use super::shadow::{Left, Shadow, Syncing};
use crate::storage::journal::disk::{Op, Probe};
use crate::storage::journal::{Lsn, Progress};

/// Calls that are remembered, to be shown when a check fails.
const TRACE_MAX: usize = 60;
/// The writer is held no longer than this: the workload may wait for it without knowing.
const HOLD_MAX: Duration = Duration::from_millis(2);

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// What was not durable is lost, or not.
    PowerFailure,
    /// Everything is there, and lost by a power failure that comes next.
    Kill,
}

/// Where a run may end, once its time has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// At any call or return.
    Anywhere,
    /// In the middle of a synced write.
    InWrite,
    /// Before everything is synced: at the end of a recovery, or at a barrier.
    AtBarrier,
    /// Between the header of a segment and the sync of its name.
    AtName,
}

/// A run that has ended so.
pub(super) struct Crash {
    pub(super) left: Left,
    /// What was acknowledged; none if nothing was served yet.
    pub(super) durable: Option<Lsn>,
    pub(super) kind: Kind,
    pub(super) trace: Vec<String>,
}

pub(super) struct Power {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    shadow: Shadow,
    random: Random,
    /// Calls and returns so far.
    moments: u64,
    crash_at: u64,
    kind: Kind,
    place: Place,
    /// The last call wrote the header of a segment.
    wrote_header: bool,
    crash: Option<Crash>,
    /// Nothing is watched any more.
    over: bool,
    syncing: HashMap<ThreadId, Syncing>,
    progress: Option<Arc<Progress>>,
    held: bool,
    trace: VecDeque<String>,
    /// Synced writes from this one on fail.
    fail_from: u64,
    writes: u64,
    /// This one call fails.
    fail_call: u64,
    calls: u64,
}

impl Power {
    pub(super) fn new(shadow: Shadow, random: Random, crash_at: u64, kind: Kind, place: Place) -> Arc<Self> {
        let state = State {
            shadow,
            place,
            wrote_header: false,
            random,
            moments: 0,
            crash_at,
            kind,
            crash: None,
            over: false,
            syncing: HashMap::new(),
            progress: None,
            held: false,
            trace: VecDeque::new(),
            fail_from: u64::MAX,
            writes: 0,
            fail_call: u64::MAX,
            calls: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this says what is acknowledged. False if the run has ended already.
    pub(super) fn watch(&self, progress: &Arc<Progress>) -> bool {
        let mut state = self.lock();
        state.progress = Some(progress.clone());
        !state.over
    }

    /// Synced writes fail from the nth on.
    pub(super) fn fail_from(&self, nth: u64) {
        self.lock().fail_from = nth;
    }

    /// The nth call fails, of whatever kind it is, and no other.
    pub(super) fn fail_call(&self, nth: u64) {
        self.lock().fail_call = nth;
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// The writer waits a while, or goes on.
    pub(super) fn hold(&self, held: bool) {
        self.lock().held = held;
        self.changed.notify_all();
    }

    /// Ends the run now, if it has not ended yet.
    pub(super) fn end(&self) -> Crash {
        let mut state = self.lock();
        if !state.over {
            state.crash();
        }
        self.changed.notify_all();
        state.crash.take().expect("a run ends once")
    }
}

impl State {
    fn note(&mut self, when: &str, op: Op<'_>) {
        let place = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let short = name.trim_start_matches(|c: char| c == '0' || c.is_ascii_hexdigit());
            if name.len() > 40 {
                format!("..{short}")
            } else {
                name.into_owned()
            }
        };
        let what = match op {
            Op::WriteSynced { path, at, bytes } => format!("write+sync {} {at}+{}", place(path), bytes.len()),
            Op::Write(path) => format!("write {}", place(path)),
            Op::Allocate(path) => format!("allocate {}", place(path)),
            Op::SyncFile(path) => format!("sync file {}", place(path)),
            Op::SyncDir(path) => format!("sync dir {}", place(path)),
            Op::SyncAll(_) => "sync all".to_owned(),
            Op::Rename(path) => format!("rename {}", place(path)),
            Op::Remove(path) => format!("remove {}", place(path)),
        };
        let durable = self.progress.as_ref().map_or(Lsn::ZERO, |progress| progress.durable());
        self.tell(format!("{} {when} {what} (durable {durable})", self.moments));
    }

    fn tell(&mut self, what: String) {
        if self.trace.len() >= TRACE_MAX {
            self.trace.pop_front();
        }
        self.trace.push_back(what);
    }

    /// Redo writes many pages: few of them are looked at.
    fn is_page(&mut self, op: Op<'_>) -> bool {
        matches!(op, Op::Write(path) if path.extension().is_some_and(|end| end == "sqlite")) && !self.random.one_in(16)
    }

    /// True if the run ends before this call.
    fn ends_before(&mut self, op: Op<'_>) -> bool {
        let fits = match self.place {
            Place::Anywhere => true,
            Place::InWrite => false,
            Place::AtBarrier => matches!(op, Op::SyncAll(_)),
            Place::AtName => self.wrote_header && matches!(op, Op::SyncDir(_)),
        };
        self.ends(fits)
    }

    /// True if the run ends before this call returns.
    fn ends_in(&mut self, op: Op<'_>) -> bool {
        match op {
            Op::WriteSynced { at, .. } => self.wrote_header = at == 0,
            Op::SyncDir(_) => self.wrote_header = false,
            Op::Write(_) | Op::Allocate(_) | Op::SyncFile(_) | Op::SyncAll(_) | Op::Rename(_) | Op::Remove(_) => {}
        }
        let fits = match self.place {
            Place::Anywhere => true,
            Place::InWrite => matches!(op, Op::WriteSynced { .. }),
            Place::AtBarrier | Place::AtName => false,
        };
        self.ends(fits)
    }

    fn ends(&mut self, fits: bool) -> bool {
        self.moments += 1;
        if self.moments < self.crash_at || !fits {
            return false;
        }
        self.crash();
        true
    }

    fn crash(&mut self) {
        let left = match self.kind {
            Kind::PowerFailure => self.shadow.failed(&mut self.random),
            Kind::Kill => self.shadow.killed(),
        };
        self.over = true;
        self.crash = Some(Crash {
            left,
            durable: self.progress.as_ref().map(|progress| progress.durable()),
            kind: self.kind,
            trace: self.trace.drain(..).collect(),
        });
    }
}

impl Probe for Power {
    fn before(&self, op: Op<'_>) -> io::Result<()> {
        let mut state = self.lock();
        if matches!(op, Op::WriteSynced { .. } | Op::SyncAll(_)) && state.held && !state.over {
            let wait = self
                .changed
                .wait_timeout_while(state, HOLD_MAX, |state| state.held && !state.over);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.over || state.is_page(op) {
            return Ok(());
        }
        state.note("call", op);
        state.calls += 1;
        if state.calls == state.fail_call {
            state.tell("it fails".to_owned());
            if matches!(op, Op::SyncAll(_)) {
                state.shadow.fail_sync();
            }
            let kinds = [rustix::io::Errno::IO, rustix::io::Errno::NOSPC];
            return Err(state.random.pick(&kinds).to_owned().into());
        }
        if let Op::WriteSynced { path, at, bytes } = op {
            state.writes += 1;
            if state.writes >= state.fail_from {
                // As much of it as there was room for; or all of it in the page cache, whose pages are taken for clean.
                let whole = state.random.one_in(2);
                let part = if whole {
                    bytes.len()
                } else {
                    state.random.below(bytes.len())
                };
                let file = std::fs::OpenOptions::new().write(true).open(path)?;
                std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..part], at)?;
                state.shadow.see_write(path, at, &bytes[..part]);
                if whole {
                    state.shadow.stick(path, at, bytes.len());
                }
                state.tell(format!("it fails, whole in the page cache: {whole}"));
                return Err(io::Error::other("a test says so"));
            }
        }
        let syncing = match op {
            Op::WriteSynced { .. } | Op::Write(_) | Op::Allocate(_) | Op::Rename(_) | Op::Remove(_) => None,
            Op::SyncFile(path) => Some(state.shadow.sync_file(path)),
            Op::SyncDir(path) => Some(state.shadow.sync_dir(path)),
            Op::SyncAll(_) => Some(state.shadow.sync_all()),
        };
        if let Some(syncing) = syncing {
            state.syncing.insert(std::thread::current().id(), syncing);
        }
        if state.ends_before(op) {
            self.changed.notify_all();
        }
        Ok(())
    }

    fn after(&self, op: Op<'_>) {
        let mut state = self.lock();
        if state.over || state.is_page(op) {
            return;
        }
        match op {
            Op::WriteSynced { path, at, bytes } => state.shadow.see_write(path, at, bytes),
            Op::Write(path) => state.shadow.see_file(path),
            Op::Allocate(_) | Op::SyncFile(_) | Op::SyncDir(_) | Op::SyncAll(_) | Op::Rename(_) | Op::Remove(_) => {}
        }
        if state.random.one_in(12) {
            state.shadow.see_all();
        }
        if state.ends_in(op) {
            self.changed.notify_all();
            return;
        }
        match op {
            Op::WriteSynced { path, at, bytes } => state.shadow.written(path, at, bytes.len()),
            Op::SyncFile(_) | Op::SyncDir(_) | Op::SyncAll(_) => {
                if let Some(syncing) = state.syncing.remove(&std::thread::current().id()) {
                    state.shadow.synced(syncing);
                }
            }
            Op::Write(_) | Op::Allocate(_) | Op::Rename(_) | Op::Remove(_) => {}
        }
        state.note("done", op);
    }
}
