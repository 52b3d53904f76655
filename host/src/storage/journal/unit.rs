//! A unit is what becomes real together: what one turn did to the databases of one tree, and to the tree. It is encoded
//! on the thread of the turn, before anything is queued.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;

use super::Lsn;
use super::journal_capnp as wire;
use super::queue::Reservation;
use crate::ids::{FileId, ObjectId};
use crate::index::{self, Head, TreeChange};
use crate::storage::alarm::AlarmChange;
use crate::storage::file::DbFile;
use crate::storage::page::PAGE_BYTES;

/// What must become durable together.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The namespace's directory.
    pub(crate) dir: Arc<Path>,
    /// The object.
    pub(crate) object: ObjectId,
    /// The databases that were committed.
    pub(crate) members: Vec<Committed>,
    /// Copies that are going to be made.
    pub(crate) copying: Vec<Announced>,
    /// Copies that are complete on disk, and somebody's from now on.
    pub(crate) copied: Vec<Copied>,
    /// Databases that are gone: their files are removed once this is durable.
    pub(crate) removed: Vec<FileId>,
    /// What happens to the `.facets` file.
    pub(crate) tree: TreeUnit,
    /// Room that was set aside for that.
    pub(crate) room: Vec<Reservation>,
    /// The unit that this one repeats, or [`Lsn::ZERO`].
    pub(crate) again: Lsn,
}

/// What a unit does to an object's `.facets` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TreeUnit {
    /// Nothing.
    Unchanged,
    /// A record goes to its end.
    Append(TreeAppend),
    /// It goes: no facet but the root is stored.
    Removed,
}

/// A copy of a database that is going to be made: whatever lies in its file before it is [`Copied`] is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Announced {
    /// The copy.
    pub(crate) file: FileId,
    /// Of what: as it is behind the object's units so far.
    pub(crate) from: FileId,
}

/// A copy of a database that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Copied {
    /// The copy.
    pub(crate) file: FileId,
    /// In what it differs from what was copied.
    pub(crate) pages: Pages,
}

/// One database's commit.
#[derive(Debug)]
pub(crate) struct Committed {
    /// Which database.
    pub(crate) file: DbFile,
    /// What it wrote.
    pub(crate) pages: Pages,
    /// What it made of the facet's alarm, if it changed it.
    pub(crate) alarm: Option<AlarmChange>,
    /// Room in the journal that was set aside before the COMMIT.
    pub(crate) reservation: Reservation,
}

impl Committed {
    /// True for the first commit of a new database.
    pub(crate) fn created(&self) -> bool {
        self.pages.whole
    }
}

/// Pages of one commit, ready to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pages {
    /// They are all there are; see journal.capnp.
    pub(crate) whole: bool,
    /// Pages of the database after the commit.
    pub(crate) page_count: u32,
    /// Numbers of the pages in `bytes`.
    pub(crate) numbers: Vec<u32>,
    /// The pages, packed if `packed`.
    pub(crate) bytes: Vec<u8>,
    /// LZ4 block, or as they are.
    pub(crate) packed: bool,
}

impl Pages {
    /// Packs pages of [`PAGE_BYTES`] each, unless that makes them longer.
    pub(crate) fn new(whole: bool, page_count: u32, numbers: Vec<u32>, raw: Vec<u8>) -> Self {
        debug_assert_eq!(raw.len() as u64, numbers.len() as u64 * PAGE_BYTES);
        let bytes = lz4_flex::block::compress(&raw);
        let packed = bytes.len() < raw.len();
        Self {
            whole,
            page_count,
            numbers,
            bytes: if packed { bytes } else { raw },
            packed,
        }
    }

    /// The pages as they are in the database.
    pub(super) fn unpacked(&self) -> Result<Vec<u8>, String> {
        let raw_bytes = usize::try_from(self.numbers.len() as u64 * PAGE_BYTES).map_err(|error| error.to_string())?;
        let raw = if self.packed {
            lz4_flex::block::decompress(&self.bytes, raw_bytes).map_err(|error| error.to_string())?
        } else {
            self.bytes.clone()
        };
        if raw.len() == raw_bytes {
            Ok(raw)
        } else {
            Err(format!("{} bytes of pages where {raw_bytes} should be", raw.len()))
        }
    }
}

/// A record for the end of an object's `.facets` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TreeAppend {
    /// Written first if the file is new; else empty.
    pub(super) header: Vec<u8>,
    pub(super) record: Vec<u8>,
    pub(super) seq: u64,
}

impl TreeAppend {
    /// `new_file`: no file is there, it begins with this record. `seq` and `next_file` are as they were before these
    /// changes.
    pub(crate) fn new(object: ObjectId, new_file: bool, next_file: FileId, seq: u64, changes: &[TreeChange]) -> Self {
        let header = new_file.then(|| index::encode_header(object, next_file, seq));
        Self {
            header: header.unwrap_or_default(),
            record: index::encode_record(seq, changes),
            seq,
        }
    }

    /// What becomes of the file that holds `bytes`.
    #[cfg(test)]
    pub(crate) fn carry_out(&self, bytes: &mut Vec<u8>) {
        if !self.header.is_empty() {
            bytes.clone_from(&self.header);
        }
        bytes.extend(&self.record);
    }

    /// What it adds to the file.
    pub(crate) fn bytes(&self) -> u64 {
        (self.header.len() + self.record.len()) as u64
    }
}

/// What is done to files once a unit is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Settlement {
    pub(super) dir: Arc<Path>,
    pub(super) object: ObjectId,
    pub(super) tree: TreeUnit,
    pub(super) removed: Vec<FileId>,
    /// Copies that need not be announced any more.
    pub(super) copied: Vec<FileId>,
    /// How far the object's history has come with this.
    pub(super) head: Head,
    /// The index is to say that.
    pub(super) shows: bool,
    /// Of a unit that only repeats another one.
    pub(super) repeats: bool,
}

impl Settlement {
    /// The index is to say how far the history has come, and nothing else is to be done.
    pub(super) fn of_head(dir: Arc<Path>, object: ObjectId, head: Head) -> Self {
        Self {
            head,
            shows: true,
            repeats: false,
            dir,
            object,
            tree: TreeUnit::Unchanged,
            removed: Vec::new(),
            copied: Vec::new(),
        }
    }

    /// What it takes in a unit.
    pub(super) fn bytes(&self) -> u64 {
        match &self.tree {
            TreeUnit::Unchanged | TreeUnit::Removed => 0,
            TreeUnit::Append(append) => append.bytes(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tree == TreeUnit::Unchanged && self.removed.is_empty() && self.copied.is_empty() && !self.shows
    }

    /// A unit that repeats that one; it is encoded with the head of that one.
    pub(super) fn again(&self, lsn: Lsn) -> Unit {
        Unit {
            removed: self.removed.clone(),
            tree: self.tree.clone(),
            again: lsn,
            ..Unit::of(self.dir.clone(), self.object)
        }
    }

    pub(super) fn index_path(&self) -> PathBuf {
        index::path(&self.dir, self.object)
    }

    pub(super) fn file(&self, file: FileId) -> DbFile {
        DbFile {
            dir: self.dir.clone(),
            object: self.object,
            file,
        }
    }

    pub(super) fn removed_files(&self) -> impl Iterator<Item = DbFile> {
        self.removed.iter().map(|file| self.file(*file))
    }

    pub(super) fn copied_files(&self) -> impl Iterator<Item = DbFile> {
        self.copied.iter().map(|file| self.file(*file))
    }
}

/// A unit as it is written.
pub(super) struct Encoded {
    /// The message, then what follows it, in order.
    pub(super) parts: Vec<Vec<u8>>,
    pub(super) settlement: Settlement,
    /// The databases it commits to.
    pub(super) files: Vec<DbFile>,
    /// Copies that it announces.
    pub(super) announced: Vec<FileId>,
    pub(super) reservations: Vec<Reservation>,
}

/// No byte that is stored stands for more than so many.
const PACKED_MAX: u64 = 256;
/// Bytes of the length that precedes the message.
const LENGTH_BYTES: usize = 8;

/// Stands for everything that was written before it.
fn hash(parts: &[Vec<u8>]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    short(&hasher.finalize())
}

fn short(hash: &blake3::Hash) -> u64 {
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

impl Unit {
    /// One that does nothing yet.
    pub(crate) fn of(dir: Arc<Path>, object: ObjectId) -> Self {
        Self {
            dir,
            object,
            members: Vec::new(),
            copying: Vec::new(),
            copied: Vec::new(),
            removed: Vec::new(),
            tree: TreeUnit::Unchanged,
            room: Vec::new(),
            again: Lsn::ZERO,
        }
    }

    /// `before`: how far the object's history had come. `at_ms`: what a clock says.
    pub(super) fn encode(mut self, before: Head, at_ms: u64) -> Encoded {
        if let TreeUnit::Append(append) = &mut self.tree {
            // A file that begins anew goes on with the history of the one before.
            before.put(&mut append.header);
        }
        let mut message = Builder::new_default();
        let mut unit = message.init_root::<wire::unit::Builder<'_>>();
        let namespace = self.dir.file_name().unwrap_or_default().to_string_lossy();
        unit.set_namespace(namespace.as_ref());
        unit.set_object(&self.object.0);
        let seq = before.seq + 1;
        unit.set_seq(seq);
        unit.set_prev(before.hash);
        unit.set_at_ms(at_ms);
        unit.set_again(self.again.word());
        let many = self.members.len() + self.copying.len() + self.copied.len() + self.removed.len();
        let many = u32::try_from(many).expect("a tree has at most 65,536 facets");
        let mut databases = unit.reborrow().init_databases(many);
        let mut at = 0;
        for member in &self.members {
            let mut database = databases.reborrow().get(at);
            database.set_file(member.file.file.0);
            let mut pages = database.init_pages();
            write_alarm(pages.reborrow().get_alarm(), member.alarm);
            member.pages.write(pages);
            at += 1;
        }
        for announced in &self.copying {
            let mut database = databases.reborrow().get(at);
            database.set_file(announced.file.0);
            database.set_copying(announced.from.0);
            at += 1;
        }
        for copied in &self.copied {
            let mut database = databases.reborrow().get(at);
            database.set_file(copied.file.0);
            copied.pages.write(database.init_copied());
            at += 1;
        }
        for file in &self.removed {
            let mut database = databases.reborrow().get(at);
            database.set_file(file.0);
            database.set_removed(());
            at += 1;
        }
        let mut index = unit.get_index();
        match &self.tree {
            TreeUnit::Unchanged => index.set_unchanged(()),
            TreeUnit::Removed => index.set_removed(()),
            TreeUnit::Append(append) => {
                let mut target = index.init_append();
                target.set_header(&append.header);
                target.set_record(&append.record);
                target.set_seq(append.seq);
            }
        }
        let body = serialize::write_message_to_words(&message);
        let mut head = Vec::with_capacity(LENGTH_BYTES + body.len());
        head.extend((body.len() as u64).to_le_bytes());
        head.extend(body);
        let (mut parts, mut files, mut reservations) = (vec![head], Vec::new(), self.room);
        let announced = self.copying.iter().map(|announced| announced.file).collect();
        let copied: Vec<_> = self.copied.iter().map(|copied| copied.file).collect();
        for member in self.members {
            parts.push(member.pages.bytes);
            files.push(member.file);
            reservations.push(member.reservation);
        }
        parts.extend(self.copied.into_iter().map(|copied| copied.pages.bytes));
        let head = Head {
            seq,
            hash: hash(&parts),
        };
        Encoded {
            parts,
            settlement: Settlement {
                dir: self.dir,
                object: self.object,
                tree: self.tree,
                removed: self.removed,
                copied,
                head,
                shows: false,
                repeats: self.again != Lsn::ZERO,
            },
            files,
            announced,
            reservations,
        }
    }
}

fn write_alarm(mut target: wire::pages::alarm::Builder<'_>, change: Option<AlarmChange>) {
    match change {
        None => target.set_unchanged(()),
        Some(AlarmChange::None) => target.set_none(()),
        Some(AlarmChange::Due(due_ms) | AlarmChange::Retry { due_ms, .. } | AlarmChange::Trying(due_ms)) => {
            target.set_due_ms(due_ms);
        }
    }
}

impl Pages {
    fn write(&self, mut target: wire::pages::Builder<'_>) {
        target.set_whole(self.whole);
        target.set_page_count(self.page_count);
        target.set_stored_bytes(self.bytes.len() as u64);
        target.set_packed(self.packed);
        let count = u32::try_from(self.numbers.len()).expect("a transaction has at most 64 MiB");
        let mut numbers = target.init_numbers(count);
        for (at, number) in (0..count).zip(&self.numbers) {
            numbers.set(at, *number);
        }
    }
}

/// What a unit says of one database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum DatabaseChange {
    Pages(Pages),
    /// Of that one.
    Copying(FileId),
    Copied(Pages),
    Removed,
}

/// A unit as it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Decoded {
    /// Name of the namespace's directory.
    pub(super) namespace: String,
    pub(super) object: ObjectId,
    /// How far the object's history had come before it.
    pub(super) before: Head,
    /// What the next one says of this one.
    pub(super) hash: u64,
    pub(super) databases: Vec<(FileId, DatabaseChange)>,
    pub(super) tree: TreeUnit,
    /// When alarms are due that it has set, or that there are none any more.
    pub(super) alarms: Vec<(FileId, Option<u64>)>,
    /// The unit that it repeats, or [`Lsn::ZERO`].
    pub(super) again: Lsn,
}

impl Decoded {
    /// It repeats what a database that could not be written held of the journal, not what is done to files.
    pub(super) fn is_carried(&self) -> bool {
        let has_pages = |(_, change): &(FileId, DatabaseChange)| matches!(change, DatabaseChange::Pages(_));
        self.again != Lsn::ZERO && self.databases.iter().any(has_pages)
    }
}

/// Reads a complete unit. Only what encoding can make is accepted.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    let hash = short(&blake3::hash(bytes));
    let text = |error: capnp::Error| error.to_string();
    let (length, rest) = bytes.split_at_checked(LENGTH_BYTES).ok_or("it has no message")?;
    let length = u64::from_le_bytes(length.try_into().expect("it has eight bytes"));
    let length = usize::try_from(length).map_err(|error| error.to_string())?;
    let (mut body, mut rest) = rest.split_at_checked(length).ok_or("its message is cut off")?;
    let mut options = ReaderOptions::new();
    // The message is in memory and its checksum is right; this bounds what pointers to one place could multiply.
    options.traversal_limit_in_words(Some(body.len() / 4 + 64));
    let message = serialize::read_message(&mut body, options).map_err(text)?;
    let unit = message.get_root::<wire::unit::Reader<'_>>().map_err(text)?;
    let namespace = unit.get_namespace().map_err(text)?;
    let namespace = namespace.to_str().map_err(|error| error.to_string())?.to_owned();
    if !crate::sys::data_dir::is_namespace(&namespace) {
        return Err(format!("{namespace:?} is no namespace"));
    }
    let object = unit.get_object().map_err(text)?;
    let object = ObjectId(object.try_into().map_err(|_| "an object id has 32 bytes")?);
    let (mut databases, mut alarms) = (Vec::new(), Vec::new());
    for database in unit.get_databases().map_err(text)? {
        let change = match database.which().map_err(|error| error.to_string())? {
            wire::database::Pages(pages) => {
                let pages = pages.map_err(text)?;
                alarms.extend(read_alarm(pages)?.map(|due_ms| (FileId(database.get_file()), due_ms)));
                DatabaseChange::Pages(read_pages(pages, &mut rest)?)
            }
            wire::database::Copying(from) => DatabaseChange::Copying(FileId(from)),
            wire::database::Copied(pages) => DatabaseChange::Copied(read_pages(pages.map_err(text)?, &mut rest)?),
            wire::database::Removed(()) => {
                alarms.push((FileId(database.get_file()), None));
                DatabaseChange::Removed
            }
        };
        databases.push((FileId(database.get_file()), change));
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes follow its last page", rest.len()));
    }
    let tree = match unit.get_index().which().map_err(|error| error.to_string())? {
        wire::unit::index::Unchanged(()) => TreeUnit::Unchanged,
        wire::unit::index::Removed(()) => TreeUnit::Removed,
        wire::unit::index::Append(append) => {
            let append = append.map_err(text)?;
            TreeUnit::Append(TreeAppend {
                header: append.get_header().map_err(text)?.to_vec(),
                record: append.get_record().map_err(text)?.to_vec(),
                seq: append.get_seq(),
            })
        }
    };
    let seq = unit.get_seq();
    Ok(Decoded {
        before: Head {
            seq: seq.checked_sub(1).ok_or("units of an object are numbered from 1")?,
            hash: unit.get_prev(),
        },
        hash,
        again: Lsn::of_word(unit.get_again()),
        namespace,
        object,
        databases,
        tree,
        alarms,
    })
}

/// None if the commit has left the alarm as it was.
fn read_alarm(pages: wire::pages::Reader<'_>) -> Result<Option<Option<u64>>, String> {
    let alarm = pages.get_alarm().which().map_err(|error| error.to_string())?;
    Ok(match alarm {
        wire::pages::alarm::Unchanged(()) => None,
        wire::pages::alarm::None(()) => Some(None),
        wire::pages::alarm::DueMs(due_ms) => Some(Some(due_ms)),
    })
}

fn read_pages(pages: wire::pages::Reader<'_>, rest: &mut &[u8]) -> Result<Pages, String> {
    let stored = usize::try_from(pages.get_stored_bytes()).map_err(|error| error.to_string())?;
    let (bytes, after) = rest.split_at_checked(stored).ok_or("its pages are cut off")?;
    *rest = after;
    let numbers: Vec<u32> = pages.get_numbers().map_err(|error| error.to_string())?.iter().collect();
    let page_count = pages.get_page_count();
    if page_count == 0 || numbers.contains(&0) {
        return Err("page numbers begin at 1".to_owned());
    }
    if numbers.len() as u64 * PAGE_BYTES > (stored as u64).saturating_mul(PACKED_MAX) {
        return Err("its pages are more than packing can hide".to_owned());
    }
    Ok(Pages {
        whole: pages.get_whole(),
        page_count,
        numbers,
        bytes: bytes.to_vec(),
        packed: pages.get_packed(),
    })
}
