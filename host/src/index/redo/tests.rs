//! After a crash an index is what the journal and a durable prefix of the file say together, whatever else lies in it.

use super::*;
use crate::ids::{ClassDigest, FacetName, FileId};
use crate::index::{TreeChange, Unshown, encode_header, encode_record, load};
use crate::startup::Startup;

const OBJECT: ObjectId = ObjectId([9; 32]);

fn create(file: u32) -> TreeChange {
    let startup = Startup::of(ClassDigest([1; 32]));
    TreeChange::Create {
        file: FileId(file),
        parent: FileId::ROOT,
        name: FacetName::new(&format!("f{file}")).unwrap(),
        startup: startup.into(),
        has_database: true,
    }
}

/// Records 5 to 10, the first with the header of its file.
fn records() -> Vec<RedoRecord> {
    let record = |seq: u64| RedoRecord {
        header: if seq == 5 {
            encode_header(OBJECT, FileId(1), 5)
        } else {
            Vec::new()
        },
        record: encode_record(seq, &[create(u32::try_from(seq).unwrap())]),
        seq,
    };
    (5..=10).map(record).collect()
}

fn file_of(records: &[RedoRecord]) -> Vec<u8> {
    let parts = records
        .iter()
        .flat_map(|record| [record.header.clone(), record.record.clone()]);
    parts.flatten().collect()
}

fn write_head(path: &Path, head: Head) {
    use std::os::unix::fs::FileExt as _;
    let (at, bytes) = crate::index::head_bytes(head);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&bytes, at).unwrap();
}

/// What redo makes of a file: how many facets it has then.
fn redone(file: Option<&[u8]>, records: &[RedoRecord]) -> Result<usize, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::index::path(dir.path(), OBJECT);
    fs::create_dir(path.parent().unwrap()).unwrap();
    if let Some(bytes) = file {
        std::fs::write(&path, bytes).unwrap();
    }
    let head = Head { seq: 7, hash: 77 };
    match super::redone(&path, OBJECT, records, head).map_err(|error| error.to_string())? {
        Redone::Anew(image) => std::fs::write(&path, image).unwrap(),
        Redone::Head => write_head(&path, head),
        Redone::Nothing => panic!("there are records"),
    }
    let before = std::fs::read(&path).unwrap();
    let again = super::redone(&path, OBJECT, records, head).unwrap();
    assert_eq!(again, Redone::Head, "doing it twice changes nothing");
    write_head(&path, head);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(crate::index::head(&path, OBJECT).unwrap(), Some(head));
    let loaded = load(&path, OBJECT, Unshown::Nothing).map_err(|error| error.to_string())?;
    Ok(loaded.expect("it was made").entries.len())
}

#[test]
fn a_file_that_begins_in_the_journal_needs_nothing_of_what_lies_there() {
    let records = records();
    let image = file_of(&records);
    for cut in 0..=image.len() {
        assert_eq!(redone(Some(&image[..cut]), &records), Ok(6), "cut at {cut}");
    }
    assert_eq!(redone(None, &records), Ok(6));
    assert_eq!(redone(Some(b"what was there before it was removed"), &records), Ok(6));
    assert_eq!(redone(Some(&[0; 5000]), &records), Ok(6));
}

#[test]
fn a_file_from_before_keeps_what_was_behind_the_barrier() {
    let records = records();
    let image = file_of(&records);
    // Records 5 to 7 lay behind the barrier; the rest of the file may be anything.
    let durable = file_of(&records[..3]).len();
    for cut in durable..=image.len() {
        assert_eq!(redone(Some(&image[..cut]), &records[3..]), Ok(6), "cut at {cut}");
        let mut torn = image[..cut].to_vec();
        torn[durable..].fill(0);
        assert_eq!(
            redone(Some(&torn), &records[3..]),
            Ok(6),
            "zeroes from {durable} to {cut}"
        );
    }
    // Out of order: the end of the file was written, what is before it was not.
    let mut holed = image.clone();
    holed[durable..durable + 40].fill(0xee);
    assert_eq!(redone(Some(&holed), &records[3..]), Ok(6));
    assert_eq!(
        redone(Some(&image), &records[5..]),
        Ok(6),
        "the journal may lag behind the file"
    );
}

#[test]
fn what_the_journal_cannot_mend_is_refused() {
    let records = records();
    let image = file_of(&records);
    let durable = file_of(&records[..3]).len();
    for cut in 0..durable {
        let error = redone(Some(&image[..cut]), &records[3..]).unwrap_err();
        assert!(error.contains("cannot be used"), "cut at {cut}: {error}");
    }
    assert!(redone(None, &records[3..]).is_err());
}

#[test]
fn a_file_that_was_rewritten_since_is_taken_from_there() {
    // Written anew with record 8 as its first; the journal has all from the beginning, but for the one of the rewriting.
    let mut records = records();
    let rewritten = [
        encode_header(OBJECT, FileId(8), 8),
        encode_record(8, &[create(5), create(6), create(7)]),
    ]
    .concat();
    records.remove(3);
    assert_eq!(redone(Some(&rewritten), &records), Ok(5));
    let longer = [&rewritten[..], &records[3].record].concat();
    assert_eq!(redone(Some(&longer), &records), Ok(5));
}
