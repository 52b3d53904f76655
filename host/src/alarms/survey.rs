//! While the host serves, databases are read that may say something else of their alarms than the index: those whose files were
//! changed since they were last compared, and all of them if the index is new. Nobody waits for that. What this process has
//! changed itself it has told of, and what it has open is left to who has it open.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{Alarms, Compared, databases};
use crate::storage::{DbFile, Journal, Pins, Progress, StorageError, stored_alarm};
use crate::sys::clock;

/// Niceness of the thread: facets and requests come first.
const NICE: i32 = 10;
/// So many are read before what they say is compared with the index.
const BATCH: u64 = 256;
/// By so much the times of files may be behind the clock.
const GRAIN_MS: u64 = 20;
/// How often the log says how far it is.
const TELL_EVERY_MS: u128 = 5_000;

/// Begins to look at the databases of these namespaces, one after the other.
pub(super) fn begin(namespaces: Vec<Arc<Alarms>>, journal: &Arc<dyn Journal>) {
    let (pins, progress) = (journal.pins().clone(), journal.progress().clone());
    let thread = std::thread::Builder::new().name("facetd-survey".to_owned());
    let begun = thread.spawn(move || {
        let _ = rustix::process::nice(NICE);
        namespaces.iter().for_each(|alarms| alarms.survey(&pins, &progress));
    });
    if let Err(error) = begun {
        tracing::warn!(%error, "databases that were put in their place by hand are not looked for");
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    databases: u64,
    read: u64,
    /// Some could not be read: the next start tries again.
    unreadable: bool,
}

impl Alarms {
    pub(super) fn survey(&self, pins: &Pins, progress: &Progress) {
        let from_ms = match self.state().compared {
            Compared::Never => 0,
            Compared::Until(until_ms) => until_ms,
            Compared::Wholly => return,
        };
        let begun = clock::now();
        match self.survey_from(from_ms, begun, pins, progress) {
            Ok(None) => {}
            Ok(Some(Seen {
                databases,
                read,
                unreadable,
            })) => {
                if read > 0 {
                    let took_ms = clock::now().saturating_duration_since(begun).as_millis();
                    let dir = self.dir.display();
                    tracing::info!(%dir, databases, read, took_ms, "compared the index of alarms with databases that were changed");
                }
                if !unreadable && let Err(error) = self.is_compared() {
                    tracing::warn!(%error, "the index of alarms cannot be written; it is compared again by the next start");
                }
            }
            Err(error) => {
                let dir = self.dir.display();
                tracing::error!(%dir, %error, "alarms of databases that were put in their place by hand may be late");
            }
        }
    }

    /// None if the host stops.
    fn survey_from(
        &self,
        from_ms: u64,
        begun: Instant,
        pins: &Pins,
        progress: &Progress,
    ) -> Result<Option<Seen>, Box<dyn std::error::Error>> {
        let (mut seen, mut told) = (Seen::default(), begun);
        let dir: Arc<Path> = self.dir.as_path().into();
        for found in databases::of_namespace(&self.dir) {
            let found = found?;
            if self.state().stopped {
                return Ok(None);
            }
            seen.databases += 1;
            let now = clock::now();
            if now.saturating_duration_since(told).as_millis() >= TELL_EVERY_MS {
                told = now;
                let percent = u32::from(found.key.object.0[0]) * 100 / 256;
                tracing::info!(dir = %dir.display(), "comparing the index of alarms with databases: {percent} %, {} read", seen.read);
            }
            let changed_ms = match found.changed_ms() {
                Ok(changed_ms) => changed_ms,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if changed_ms + GRAIN_MS < from_ms || changed_ms > self.opened_ms {
                continue;
            }
            seen.read += 1;
            let database = DbFile {
                dir: dir.clone(),
                object: found.key.object,
                file: found.key.file,
            };
            // Told before anybody can commit to it: what is told later is newer.
            let told = pins.while_closed(&database, || -> Result<(), StorageError> {
                self.found(found.key, stored_alarm(&database)?);
                Ok(())
            });
            // The facet says so to whoever calls it.
            if let Some(Err(error)) = told
                && database.path().exists()
            {
                let (object, file, error) = (database.object, database.file, error.for_operator());
                tracing::error!(%object, %file, error, "a database cannot be read; its alarm is not known");
                seen.unreadable = true;
            }
            if seen.read % BATCH == 0 {
                self.bring(progress)?;
            }
        }
        self.bring(progress)?;
        Ok(Some(seen))
    }

    /// Has the index corrected by what was found. A correction goes behind whatever of its facet is not durable yet.
    fn bring(&self, progress: &Progress) -> Result<(), Box<dyn std::error::Error>> {
        self.compare()?;
        let newest = self.state().newest;
        progress.wait(newest)?;
        Ok(self.settle(newest)?)
    }

    /// With all databases, as they were when the index was opened; what was changed since was told.
    fn is_compared(&self) -> Result<(), super::AlarmIndexError> {
        let guard = self.index();
        let Some(index) = &*guard else { return Ok(()) };
        index.set_compared(self.opened_ms)?;
        self.state().compared = Compared::Wholly;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
