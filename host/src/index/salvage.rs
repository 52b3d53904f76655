//! What can still be read of a damaged index. Nothing of this is ever served: it is told to a person, who may have an index
//! made of it.

use super::frame::{self, ALIGN_BYTES, FRAME_BYTES, Found, HEADER_BYTES};
use super::load::{Entry, Loaded};
use super::{TreeChange, codec, rewrite};
use crate::ids::{FileId, ObjectId};

/// What the good records say, as far as they make sense together.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// Entries may have parents that are not known.
    pub(crate) loaded: Loaded,
    /// What is wrong; nothing if the file is whole.
    pub(crate) damage: Vec<String>,
}

/// Reads whatever is good in `bytes`, in the order in which it lies there.
pub(crate) fn salvage(bytes: &[u8], object: ObjectId) -> Salvaged {
    let mut found = Salvaged {
        loaded: Loaded::nothing(FileId(1), 1),
        damage: Vec::new(),
    };
    let header = match bytes.get(..HEADER_BYTES) {
        Some(header) => frame::decode_header(header, object),
        None => Err("it is too short to be an index".to_owned()),
    };
    match header {
        Ok(header) => {
            (found.loaded.next_file, found.loaded.next_seq) = (header.next_file, header.first_seq);
            match header.head {
                Some(head) => found.loaded.head = head,
                None => found
                    .damage
                    .push("the checksum of its history's head is wrong".to_owned()),
            }
        }
        Err(why) => found.damage.push(why),
    }
    let (mut at, mut bad_from) = (HEADER_BYTES.min(bytes.len()), None);
    let mut is_first = true;
    let mut startups = codec::Startups::default();
    while at < bytes.len() {
        let record = match frame::decode_record(&bytes[at..]) {
            Found::Record { body, seq, bytes } => codec::decode(body, &mut startups)
                .ok()
                .map(|changes| (changes, seq, bytes)),
            Found::Bad => None,
        };
        let Some((changes, seq, length)) = record else {
            bad_from.get_or_insert(at);
            at += ALIGN_BYTES;
            continue;
        };
        if let Some(from) = bad_from.take() {
            found.damage.push(format!("bytes {from} to {at} are no record"));
        }
        // Behind a header that is lost, any number may come first.
        if seq != found.loaded.next_seq && (!is_first || found.damage.is_empty()) {
            let why = format!("at byte {at} is record {seq} where {} should be", found.loaded.next_seq);
            found.damage.push(why);
        }
        is_first = false;
        found.loaded.next_seq = found.loaded.next_seq.max(seq.saturating_add(1));
        for change in changes {
            found.apply(change, seq);
        }
        at += length;
    }
    if let Some(from) = bad_from {
        let last = bytes.len();
        found
            .damage
            .push(format!("bytes {from} to {last}, the last, are no record"));
    }
    // Where a record is lost, its number may have been given to a file.
    found.loaded.next_seq = found.loaded.next_seq.saturating_add((bytes.len() / FRAME_BYTES) as u64);
    found
}

impl Salvaged {
    fn apply(&mut self, change: TreeChange, seq: u64) {
        let entries = &mut self.loaded.entries;
        let missing = match change {
            TreeChange::Name { name } => {
                self.loaded.name = Some(name);
                None
            }
            TreeChange::Store { file: FileId::ROOT } | TreeChange::Empty { file: FileId::ROOT } => {
                self.loaded.root_has_database = matches!(change, TreeChange::Store { .. });
                None
            }
            TreeChange::Create {
                file,
                parent,
                name,
                startup,
                has_database,
            } => {
                self.loaded.next_file = self.loaded.next_file.max(FileId(file.0.saturating_add(1)));
                let entry = Entry {
                    parent,
                    name,
                    startup,
                    has_database,
                };
                entries.insert(file, entry);
                None
            }
            TreeChange::Restart { file, startup } => match entries.get_mut(&file) {
                Some(entry) => {
                    entry.startup = startup;
                    None
                }
                None => Some(file),
            },
            TreeChange::Store { file } | TreeChange::Empty { file } => match entries.get_mut(&file) {
                Some(entry) => {
                    entry.has_database = matches!(change, TreeChange::Store { .. });
                    None
                }
                None => Some(file),
            },
            TreeChange::Delete { file } => {
                entries.remove(&file);
                None
            }
        };
        if let Some(file) = missing {
            self.damage.push(format!(
                "record {seq} speaks of facet {file}, which no good record creates"
            ));
        }
    }
}

/// The bytes of an index that holds these entries and nothing else. Every parent must be among them, or the root.
pub(crate) fn image(object: ObjectId, loaded: &Loaded) -> Vec<u8> {
    rewrite::image(object, loaded).0
}
