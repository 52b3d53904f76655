//! A database whose file cannot be written keeps its log, and holds the journal's tail with what is in it. After a while its pages are
//! written again at the head, as one unit that counts before all others; its object takes no commits until the log can be moved.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::keeper::MOVE_AFTER;
use super::recovery::{self, JournalError};
use super::unit::DatabaseChange;
use super::{Committed, Lsn, Pages, Reservation, Unit};
use crate::ids::ObjectId;
use crate::index::Head;
use crate::storage::file::DbFile;
use crate::storage::page::PAGE;
use crate::sys::clock;

/// Databases that cannot be written.
#[derive(Default)]
pub(super) struct Carried {
    databases: BTreeMap<DbFile, Failing>,
}

struct Failing {
    since: Instant,
    why: Arc<str>,
    is_urgent: bool,
    /// The unit that holds its pages again, once it was written.
    moved: Option<Moved>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Queued(Lsn),
    Durable(Lsn),
}

impl Carried {
    pub(super) fn is_empty(&self) -> bool {
        self.databases.is_empty()
    }

    /// These could not be written just now; all others could, or were not tried.
    pub(super) fn failed(&mut self, failures: impl IntoIterator<Item = (DbFile, String)>) {
        for (file, why) in failures {
            let failing = self.databases.entry(file).or_insert_with(|| Failing {
                since: clock::now(),
                why: Arc::default(),
                is_urgent: false,
                moved: None,
            });
            failing.why = why.into();
        }
    }

    /// Forgets those that hold nothing any more.
    pub(super) fn keep(&mut self, holds: impl Fn(&DbFile) -> bool) {
        self.databases.retain(|file, _| {
            let holds = holds(file);
            if !holds {
                tracing::info!(file = %file.path().display(), "a database can be written again");
            }
            holds
        });
    }

    pub(super) fn holds(&self, file: &DbFile) -> bool {
        self.databases.contains_key(file)
    }

    /// Those that could not be written for so long, but for those whose pages are on their way.
    pub(super) fn due(&self) -> Vec<DbFile> {
        let due = self.databases.iter().filter(|(_, failing)| failing.is_due());
        let due = due.filter(|(_, failing)| !matches!(failing.moved, Some(Moved::Queued(_))));
        due.map(|(file, _)| file.clone()).collect()
    }

    /// None of them is waited for any longer.
    pub(super) fn hurry(&mut self) {
        self.databases.values_mut().for_each(|failing| failing.is_urgent = true);
    }

    /// Its pages are queued again.
    pub(super) fn queued(&mut self, file: &DbFile, lsn: Lsn) {
        if let Some(failing) = self.databases.get_mut(file) {
            failing.moved = Some(Moved::Queued(lsn));
        }
    }

    /// Units up to this one are durable. Answers whose pages are in one of them again.
    pub(super) fn durable(&mut self, upto: Lsn) -> Vec<(DbFile, Lsn)> {
        let mut moved = Vec::new();
        for (file, failing) in &mut self.databases {
            if let Some(Moved::Queued(lsn)) = failing.moved
                && lsn <= upto
            {
                failing.moved = Some(Moved::Durable(lsn));
                moved.push((file.clone(), lsn));
            }
        }
        moved
    }

    /// Objects that take no commits, and why: what they committed would stay in a log that only grows.
    pub(super) fn reasons(&self) -> BTreeMap<ObjectId, Arc<str>> {
        let due = self.databases.iter().filter(|(_, failing)| failing.is_due());
        due.map(|(file, failing)| (file.object, failing.why.clone())).collect()
    }
}

impl Failing {
    fn is_due(&self) -> bool {
        self.is_urgent || clock::now().saturating_duration_since(self.since) >= MOVE_AFTER
    }
}

/// Pages in one unit that repeats others: room for many is found where there is none for all.
const PIECE_PAGES: usize = 1024;

/// The newest pages of a database that are in the journal, up to its unit `newest`, in pieces, and how far the object's history had come
/// then. None if there are none.
pub(super) fn collect(dir: &Path, file: &DbFile, newest: Lsn) -> Result<Option<(Vec<Pages>, Head)>, JournalError> {
    let namespace = file.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut repeated, mut units) = (Vec::new(), Vec::new());
    let mut head = Head::default();
    recovery::read(dir, |lsn, unit| {
        if lsn > newest || unit.object != file.object || unit.namespace != namespace {
            return Ok(());
        }
        let is_repeated = unit.again != Lsn::ZERO;
        head = match is_repeated {
            true => head,
            false => Head {
                seq: unit.before.seq + 1,
                hash: unit.hash,
            },
        };
        let own = unit.databases.into_iter().filter(|(number, _)| *number == file.file);
        match is_repeated {
            true => repeated.extend(own),
            false => units.extend(own),
        }
        Ok(())
    })?;
    let (mut pages, mut page_count, mut whole) = (BTreeMap::new(), 0, false);
    for (_, change) in repeated.into_iter().chain(units) {
        match change {
            DatabaseChange::Pages(found) => {
                if found.whole {
                    pages.clear();
                    whole = true;
                }
                page_count = found.page_count;
                let raw = found.unpacked().map_err(JournalError::Io)?;
                pages.extend(
                    found
                        .numbers
                        .iter()
                        .copied()
                        .zip(raw.chunks_exact(PAGE).map(<[u8]>::to_vec)),
                );
            }
            DatabaseChange::Copying(_) | DatabaseChange::Copied(_) | DatabaseChange::Removed => {
                pages.clear();
                whole = false;
            }
        }
    }
    pages.retain(|number, _| *number <= page_count);
    if pages.is_empty() {
        return Ok(None);
    }
    let pages: Vec<_> = pages.into_iter().collect();
    let piece = |(at, pages): (usize, &[(u32, Vec<u8>)])| {
        let numbers = pages.iter().map(|(number, _)| *number).collect();
        let raw = pages.iter().flat_map(|(_, page)| page).copied().collect();
        // The file begins with the first of them.
        Pages::new(whole && at == 0, page_count, numbers, raw)
    };
    let pieces = pages.chunks(PIECE_PAGES).enumerate().map(piece).collect();
    Ok(Some((pieces, head)))
}

/// A unit that repeats some of them.
pub(super) fn again(file: &DbFile, newest: Lsn, pages: Pages, reservation: Reservation) -> Unit {
    Unit {
        members: vec![Committed {
            file: file.clone(),
            pages,
            alarm: None,
            reservation,
        }],
        again: newest,
        ..Unit::of(file.dir.clone(), file.object)
    }
}
