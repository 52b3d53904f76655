//! An index that is mostly history is written anew, as a whole and under another name first, so a crash leaves the old or
//! the new one. What must outlive the history, the next file id and the next record number, is in the header.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::load::{Loaded, failed};
use super::{IndexError, TreeChange, encode_header, encode_record};
use crate::ids::{FileId, ObjectId};
use crate::sys::die::{self, Point};

/// A smaller file is left alone.
const WORTH_BYTES: usize = 64 * 1024;
/// A file is rewritten if what lives takes less than one in so many bytes.
const DEAD_RATIO: usize = 4;
/// What lives takes at least so much for each facet.
pub(super) const ENTRY_BYTES_MIN: usize = 160;
/// Facets in one record: with the largest props it stays far below what a reader accepts.
const RECORD_FACETS: usize = 64;

/// Rewrites the index if that makes it much smaller; `loaded` then tells the numbers of the new file.
pub(super) fn if_mostly_dead(
    path: &Path,
    object: ObjectId,
    loaded: &mut Loaded,
    bytes: usize,
) -> Result<(), IndexError> {
    // Making the image of many facets takes longer than reading them did.
    let least_bytes = loaded.entries.len() * ENTRY_BYTES_MIN;
    if bytes < WORTH_BYTES || least_bytes * DEAD_RATIO > bytes {
        return Ok(());
    }
    let (image, next_seq) = image(object, loaded);
    if image.len() * DEAD_RATIO > bytes {
        return Ok(());
    }
    let temporary = path.with_extension("facets.new");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(&image)?;
        file.sync_all()?;
        die::pass(Point::RewriteWritten);
        fs::rename(&temporary, path)?;
        die::pass(Point::RewriteRenamed);
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(failed("rewrite", path))?;
    loaded.next_seq = next_seq;
    Ok(())
}

/// The file that holds what `loaded` holds and nothing else, and the number of the record that comes after.
pub(super) fn image(object: ObjectId, loaded: &Loaded) -> (Vec<u8>, u64) {
    let mut seq = loaded.next_seq;
    let mut image = encode_header(object, loaded.next_file, seq);
    loaded.head.put(&mut image);
    for changes in creations(loaded).chunks(RECORD_FACETS) {
        image.extend(encode_record(seq, changes));
        seq += 1;
    }
    (image, seq)
}

/// Parents before their children, behind what is said of the root.
fn creations(loaded: &Loaded) -> Vec<TreeChange> {
    let mut children: BTreeMap<FileId, Vec<FileId>> = BTreeMap::new();
    for (file, entry) in &loaded.entries {
        children.entry(entry.parent).or_default().push(*file);
    }
    let mut creations = Vec::with_capacity(loaded.entries.len() + 2);
    let stored = loaded.root_has_database;
    creations.extend(stored.then_some(TreeChange::Store { file: FileId::ROOT }));
    creations.extend(loaded.name.clone().map(|name| TreeChange::Name { name }));
    let mut waiting = vec![FileId::ROOT];
    while let Some(parent) = waiting.pop() {
        for file in children.remove(&parent).unwrap_or_default() {
            let entry = loaded.entries[&file].clone();
            creations.push(TreeChange::Create {
                file,
                parent,
                name: entry.name,
                startup: entry.startup,
                has_database: entry.has_database,
            });
            waiting.push(file);
        }
    }
    creations
}
