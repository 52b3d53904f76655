//! A statement can be stopped when its time is up, and a facet for good, from any thread; a commit that has begun is never
//! stopped. This module has no clock: whoever has one looks in from time to time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::InterruptHandle;

/// Shared by a facet's task and whoever may have to stop it.
pub(crate) struct InterruptCell {
    /// Called again and again while a statement runs, on its thread.
    on_progress: fn(),
    for_ever: AtomicBool,
    /// A COMMIT runs: the turn is sealed, an interrupt comes too late for it. Written under the lock.
    sealed: AtomicBool,
    /// When the statement that runs must stop; 0: none runs. In the milliseconds of whoever calls [`Self::look`]. Written
    /// under the lock.
    deadline_ms: AtomicU64,
    /// The statement that runs has had its time. Written under the lock.
    overdue: AtomicBool,
    handle: Mutex<Option<InterruptHandle>>,
}

impl Default for InterruptCell {
    fn default() -> Self {
        Self::new(|| ())
    }
}

impl InterruptCell {
    /// `on_progress` is called again and again while a statement runs, on its thread.
    pub(crate) fn new(on_progress: fn()) -> Self {
        Self {
            on_progress,
            for_ever: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            deadline_ms: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            handle: Mutex::new(None),
        }
    }

    /// Stops the statement that runs now, if any. A statement that wrote takes the turn's transaction with it.
    pub(crate) fn interrupt(&self) {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(handle), false) = (&*handle, self.sealed.load(Ordering::SeqCst)) {
            handle.interrupt();
        }
    }

    /// As [`Self::interrupt`], and every later statement fails as well.
    pub(crate) fn interrupt_for_ever(&self) {
        // Before the interrupt: SQLite forgets one that arrives between two statements, the progress handler and the
        // check before each statement see the flag then.
        self.for_ever.store(true, Ordering::SeqCst);
        self.interrupt();
    }

    /// A statement begins, which may run until then.
    pub(crate) fn begin_statement(&self, deadline_ms: u64) {
        let _handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.overdue.store(false, Ordering::Relaxed);
        self.deadline_ms.store(deadline_ms, Ordering::Relaxed);
    }

    /// It has ended. True if its time was up.
    pub(crate) fn end_statement(&self) -> bool {
        let _handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.deadline_ms.store(0, Ordering::Relaxed);
        self.overdue.swap(false, Ordering::Relaxed)
    }

    /// Stops the statement that runs if its time is up.
    pub(crate) fn look(&self, now_ms: u64) {
        if self.deadline_ms.load(Ordering::Relaxed) == 0 {
            return;
        }
        let _handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        // Not `sqlite3_interrupt`, which would stop all that runs until the last open cursor is closed.
        let deadline_ms = self.deadline_ms.load(Ordering::Relaxed);
        if deadline_ms != 0 && now_ms >= deadline_ms {
            self.overdue.store(true, Ordering::Relaxed);
        }
    }

    /// True if the statement that runs has had its time.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// The facet has stopped: what follows is the host's own work, and nobody interrupts it.
    pub(super) fn retire(&self) {
        self.set_handle(None);
        self.for_ever.store(false, Ordering::SeqCst);
    }

    /// True after [`Self::interrupt_for_ever`].
    pub(crate) fn is_stopped(&self) -> bool {
        self.for_ever.load(Ordering::SeqCst)
    }

    /// What the progress handler does.
    pub(super) fn progress(&self) -> bool {
        (self.on_progress)();
        self.stops_statements()
    }

    /// What the progress handler asks, and the allocator.
    pub(super) fn stops_statements(&self) -> bool {
        (self.is_overdue() || self.is_stopped()) && !self.sealed.load(Ordering::SeqCst)
    }

    pub(super) fn set_handle(&self, handle: Option<InterruptHandle>) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    /// Nothing is interrupted while the guard lives.
    pub(super) fn seal(&self) -> Sealed<'_> {
        self.set_sealed(true);
        Sealed(self)
    }

    fn set_sealed(&self, sealed: bool) {
        // Under the lock: an interrupt that saw the old value has happened before this returns.
        let _handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        self.sealed.store(sealed, Ordering::SeqCst);
    }
}

pub(super) struct Sealed<'a>(&'a InterruptCell);

impl Drop for Sealed<'_> {
    fn drop(&mut self) {
        self.0.set_sealed(false);
    }
}
