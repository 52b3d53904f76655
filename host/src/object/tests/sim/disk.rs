//! What outlives the process: files, an index made and read by the real code, and a journal whose units are queued,
//! acknowledged and carried out in this order, each as late as it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::promised::Rows;
use super::{Checked, Missing, OBJECT};
use crate::ids::FileId;
use crate::index;

/// A database. Nothing is committed to it while it has no rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct File {
    pub(super) rows: Option<Rows>,
    /// Its identity.
    pub(super) path: Arc<str>,
}

#[derive(Clone, Default, Debug)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<FileId, File>,
    pub(super) index: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
pub(super) enum TreeUnit {
    #[default]
    Unchanged,
    Append {
        header: Vec<u8>,
        record: Vec<u8>,
    },
    Removed,
}

/// A commit to one database.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) file: FileId,
    pub(super) rows: Rows,
    pub(super) path: Arc<str>,
    /// It is the first one.
    pub(super) whole: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    pub(super) members: Vec<Member>,
    pub(super) adopted: Vec<(FileId, File)>,
    pub(super) removed: Vec<FileId>,
    pub(super) tree: TreeUnit,
}

/// Units are numbered from 1 on, anew after each opening.
pub(super) type Lsn = usize;

pub(super) struct Journal {
    /// As it was when the journal began.
    base: Disk,
    units: Vec<Unit>,
    pub(super) acked: Lsn,
    pub(super) settled: Lsn,
    /// How many units it had when it failed.
    pub(super) failed: Option<Lsn>,
    /// Files that were removed since it began: what the base has of them is gone.
    removed: BTreeSet<FileId>,
}

impl Journal {
    pub(super) fn new(base: Disk) -> Self {
        Self {
            base,
            units: Vec::new(),
            acked: 0,
            settled: 0,
            failed: None,
            removed: BTreeSet::new(),
        }
    }

    pub(super) fn append(&mut self, unit: Unit) -> Lsn {
        self.units.push(unit);
        self.units.len()
    }

    pub(super) fn last(&self) -> Lsn {
        self.units.len()
    }

    /// Queued units that can still become durable.
    pub(super) fn waiting(&self) -> usize {
        self.failed.map_or(self.units.len() - self.acked, |_| 0)
    }

    pub(super) fn is_durable(&self, lsn: Lsn) -> bool {
        self.acked >= lsn
    }

    /// A unit that is not carried out yet removes the file.
    pub(super) fn is_to_remove(&self, file: FileId) -> bool {
        self.units[self.settled..]
            .iter()
            .any(|unit| unit.removed.contains(&file))
    }

    pub(super) fn remove(&mut self, disk: &mut Disk, file: FileId) {
        disk.files.remove(&file);
        self.removed.insert(file);
    }

    /// Carries out what the next unit does to files. False if none is acknowledged.
    pub(super) fn settle(&mut self, disk: &mut Disk, without: Option<Missing>) -> bool {
        let upto = match without {
            Some(Missing::FilesFollowUnits) => self.units.len(),
            _ => self.acked,
        };
        if self.settled >= upto {
            return false;
        }
        let unit = self.units[self.settled].clone();
        self.settled += 1;
        carry_out(&mut disk.index, &unit.tree);
        for file in unit.removed {
            self.remove(disk, file);
        }
        true
    }

    /// What the next process finds when this one has ended after `upto` units were written.
    pub(super) fn recovered(&self, upto: Lsn) -> Checked<Disk> {
        let mut disk = self.base.clone();
        disk.files
            .retain(|file, found| found.rows.is_some() && !self.removed.contains(file));
        let units = &self.units[..upto];
        let removed: BTreeSet<_> = units.iter().flat_map(|unit| &unit.removed).collect();
        for unit in units {
            for member in &unit.members {
                let found = File {
                    rows: Some(member.rows),
                    path: member.path.clone(),
                };
                if member.whole {
                    disk.files.insert(member.file, found);
                } else if let Some(file) = disk.files.get_mut(&member.file) {
                    *file = found;
                } else if !removed.contains(&member.file) {
                    return Err(format!("{:?} has newer commits and is missing", member.file));
                }
            }
            for (file, found) in &unit.adopted {
                if !self.removed.contains(file) {
                    disk.files.insert(*file, found.clone());
                }
            }
            for file in &unit.removed {
                disk.files.remove(file);
            }
            carry_out(&mut disk.index, &unit.tree);
        }
        // What no index names was never part of the object.
        let known = match &disk.index {
            Some(bytes) => index::parse(bytes, OBJECT)?,
            None => index::Loaded::nothing(FileId(1), 1),
        };
        disk.files.retain(|file, _| known.has_database(*file));
        Ok(disk)
    }
}

fn carry_out(index: &mut Option<Vec<u8>>, tree: &TreeUnit) {
    match tree {
        TreeUnit::Unchanged => {}
        TreeUnit::Removed => *index = None,
        TreeUnit::Append { header, record } if header.is_empty() => {
            index.get_or_insert_default().extend(record);
        }
        TreeUnit::Append { header, record } => *index = Some([&header[..], record].concat()),
    }
}
