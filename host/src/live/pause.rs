//! A facet that is paused begins no turn that would change its database or its children: what is committed stays as it is,
//! while others may read it. Its events wait at the gate, which costs no thread; only a turn that runs already may have to wait for its first
//! access.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::live::Control;
use crate::live::visit::blocking;

/// Ends when it is dropped.
pub(super) struct Pause(Arc<Control>);

impl Pause {
    pub(super) fn control(&self) -> &Arc<Control> {
        &self.0
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let control = &self.0;
        // Changed under the lock of the storage only, except here: nobody acts upon a pause that ends.
        control.pauses.fetch_sub(1, Ordering::SeqCst);
        control.gate.set_host(false);
        control.resumed.notify_waiters();
    }
}

impl Control {
    /// True if a turn must not begin. To be asked under the lock of the storage.
    pub(crate) fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) > 0
    }

    /// Waits for the end of all pauses; another one may have begun since.
    pub(crate) async fn unpaused(&self) {
        loop {
            let resumed = self.resumed.notified();
            tokio::pin!(resumed);
            // Registered before looking, so that an end in between is not missed.
            resumed.as_mut().enable();
            if !self.is_paused() {
                return;
            }
            resumed.await;
        }
    }

    /// Pauses a facet that runs, as soon as it is between two turns. None if it has stopped running.
    pub(super) async fn pause(self: &Arc<Self>) -> Option<Pause> {
        let mut gone = self.gone();
        loop {
            let changed = self.storage_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.pause_now() {
                Ok(Some(pause)) => return Some(pause),
                Ok(None) => {}
                // Somebody is in it: a statement may take a while, and this thread has other things to do.
                Err(Busy) => {
                    let control = self.clone();
                    blocking(move || {
                        if let Some(storage) = control.storage.get() {
                            drop(storage.lock());
                        }
                    })
                    .await;
                    continue;
                }
            }
            tokio::select! {
                () = changed => {}
                _ = gone.wait_for(|gone| *gone) => return None,
            }
        }
    }

    /// None while it is in a turn, starts or closes.
    fn pause_now(self: &Arc<Self>) -> Result<Option<Pause>, Busy> {
        let Some(storage) = self.storage.get() else {
            return Ok(None);
        };
        let store = storage.try_lock().map_err(|_| Busy)?;
        let in_turn = store.in_turn() || self.turn_is_open.load(Ordering::SeqCst);
        if in_turn || self.storage_closed.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.pauses.fetch_add(1, Ordering::SeqCst);
        self.gate.set_host(true);
        Ok(Some(Pause(self.clone())))
    }
}

struct Busy;
