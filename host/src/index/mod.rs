//! The `.facets` file of an object says which facets exist, and nothing else does. Reading it answers exactly a prefix of
//! what was written to it, or an error; damage is never repaired by dropping records that were acknowledged.

mod codec;
mod frame;
mod head;
mod load;
mod redo;
mod rewrite;
mod salvage;

// Made by capnpc from facets.capnp, which says how.
#[allow(
    clippy::all,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_qualifications,
    reason = "generated"
)]
mod facets_capnp;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error;
use crate::ids::{FacetName, FileId, ObjectId, ObjectName};
use crate::startup::Startup;

pub(crate) use frame::{encode_header, encode_record};
pub(crate) use head::{Head, Place, Unshown, head, head_bytes, look};
pub(crate) use load::{Entry, Loaded, load, read};
pub(crate) use redo::{RedoRecord, Redone, image as records_image, redone};
pub(crate) use salvage::{image, salvage};

/// One change of an object's tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TreeChange {
    /// A facet exists from now on. Its file id is higher than any before.
    Create {
        /// Its file.
        file: FileId,
        /// Its parent's file; [`FileId::ROOT`] for a child of the root.
        parent: FileId,
        /// Its name among its siblings.
        name: FacetName,
        /// What it runs.
        startup: Arc<Startup>,
        /// It has a database. If not, it has its entry for what is below it.
        has_database: bool,
    },
    /// A facet that had no database has one.
    Store {
        /// Its file; [`FileId::ROOT`] for the root, which has no entry.
        file: FileId,
    },
    /// A facet's database is gone. It keeps its entry for what is below it.
    Empty {
        /// Its file; [`FileId::ROOT`] for the root.
        file: FileId,
    },
    /// What the object is called.
    Name {
        /// It leads to the object's id.
        name: ObjectName,
    },
    /// A facet runs something else on the same storage.
    Restart {
        /// Its file.
        file: FileId,
        /// What it runs from now on.
        startup: Arc<Startup>,
    },
    /// A facet is gone. Its children are deleted before it, or in the same record.
    Delete {
        /// Its file.
        file: FileId,
    },
}

/// Why an index cannot be used. The file is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    /// The operating system failed.
    #[error("cannot {what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it answered.
        error: io::Error,
    },
    /// There is none, and the object has something stored.
    #[error(
        "{path} is missing, though {database} is there, and what is below the object's root is not known without it. Nothing \
         is changed; restore it from a backup, or have `facetd doctor --repair` make it anew"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What it would name.
        database: PathBuf,
    },
    /// Not an index, of another object, or damaged before its end.
    #[error(
        "{path} cannot be used: {why}. It is left as it is; restore it, with the object's databases, from a backup"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl IndexError {
    /// Without the host's paths, and without what another object's file says.
    pub(crate) fn for_guests(&self) -> String {
        match self {
            Self::Io { what, error, .. } => format!("cannot {what} the index of this object: {}", error::told(error)),
            Self::Missing { .. } => {
                "the index of this object is missing. Nothing is changed; restore it from a backup, or \
                                     have `facetd doctor --repair` make it anew (the operator's log says where it was)"
                    .to_owned()
            }
            Self::Damaged { .. } => {
                "the index of this object is damaged, or not its own. It is left as it is; restore it, \
                                     with the object's databases, from a backup (the operator's log says where it is)"
                    .to_owned()
            }
        }
    }
}

/// Reads any bytes as the file of the object that they name.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse_any(bytes: &[u8]) {
    let object = bytes.get(24..56).and_then(|id| id.try_into().ok());
    let _ = load::parse(bytes, ObjectId(object.unwrap_or_default()));
    // Of any bytes none has the right checksum.
    let _ = codec::decode(bytes, &mut codec::Startups::default());
}

/// What an index of these bytes holds, all of which must be good.
#[cfg(test)]
pub(crate) fn parse(bytes: &[u8], object: ObjectId) -> Result<Loaded, String> {
    match load::parse(bytes, object)? {
        (loaded, good) if good == bytes.len() => Ok(loaded),
        (_, good) => Err(format!("its last {} bytes are no record", bytes.len() - good)),
    }
}

/// Where records of an object lie that the journal held and that could not be put into its index. As long as they are there
/// the index is not used: it is older than what was acknowledged.
pub(crate) fn lost_path(index: &Path) -> PathBuf {
    index.with_extension("facets.lost")
}

/// Where the index of an object is.
pub(crate) fn path(dir: &Path, object: ObjectId) -> PathBuf {
    crate::sys::layout::index(dir, object)
}
