//! A committed segment pins the format: this version writes it byte for byte. It is cut and changed at every byte: what is
//! read is a beginning of what was written, or an error. And any bytes can be given to the decoders.

use std::path::Path;
use std::sync::Arc;

use super::model::object_id;
use super::random::Random;
use crate::ids::{ClassDigest, FacetName, FileId};
use crate::index::{Head, TreeChange};
use crate::startup::Startup;
use crate::storage::file::DbFile;
use crate::storage::journal::batch::{BLOCK_BYTES, Batch};
use crate::storage::journal::segment::{self, Header};
use crate::storage::journal::unit::Decoded;
use crate::storage::journal::{
    Announced, Committed, Copied, Lsn, Pages, Reservation, TreeAppend, TreeUnit, Unit, recovery,
};

const GOLDEN: &[u8] = include_bytes!("golden.journal");
/// Set: writes the file anew, after a deliberate change of the format.
const WRITE_VARIABLE: &str = "FACETD_WRITE_GOLDEN";
const ID: [u8; 16] = *b"an id of 16 byte";
const FIRST: u64 = 41;
/// Mutated inputs for each decoder.
const MUTATIONS: usize = 35_000;

fn committed(file: u32, whole: bool, pages: &[(u32, Vec<u8>)]) -> Committed {
    let raw = pages.iter().flat_map(|(_, page)| page.clone()).collect();
    Committed {
        file: DbFile {
            dir: Path::new("t").into(),
            object: object_id(5),
            file: FileId(file),
        },
        pages: Pages::new(whole, 3, pages.iter().map(|(number, _)| *number).collect(), raw),
        alarm: None,
        reservation: Reservation::none(),
    }
}

fn announced(file: u32) -> Announced {
    let from = FileId(1);
    Announced {
        file: FileId(file),
        from,
    }
}

fn copy(file: u32) -> Copied {
    Copied {
        file: FileId(file),
        pages: Pages::new(false, 3, vec![2], vec![6; 4096]),
    }
}

fn unit(members: Vec<Committed>, copied: &[u32], removed: &[u32], tree: TreeUnit) -> Unit {
    let files = |files: &[u32]| files.iter().copied().map(FileId).collect();
    Unit {
        members,
        copying: copied.iter().map(|file| announced(*file)).collect(),
        copied: copied.iter().map(|file| copy(*file)).collect(),
        removed: files(removed),
        tree,
        ..Unit::of(Path::new("t").into(), object_id(5))
    }
}

fn append(seq: u64, change: TreeChange) -> TreeUnit {
    TreeUnit::Append(TreeAppend::new(object_id(5), seq == 1, FileId(1), seq, &[change]))
}

/// One of each kind; noise is not packed, and longer than a block.
fn units() -> Vec<Unit> {
    let create = TreeChange::Create {
        file: FileId(1),
        parent: FileId::ROOT,
        name: FacetName::new("Grüße").unwrap(),
        startup: Arc::new(Startup::of(ClassDigest([1; 32]))),
        has_database: true,
    };
    let noise = Random::new(1).noise(4096);
    let plain = |byte: u8| vec![byte; 4096];
    vec![
        unit(
            vec![committed(0, true, &[(1, plain(1)), (2, plain(2)), (3, plain(3))])],
            &[],
            &[],
            TreeUnit::Unchanged,
        ),
        unit(
            vec![committed(1, true, &[(1, plain(1)), (1, plain(4))])],
            &[],
            &[],
            append(1, create),
        ),
        unit(
            vec![
                committed(0, false, &[(2, noise)]),
                committed(1, false, &[(3, plain(5))]),
            ],
            &[7],
            &[],
            TreeUnit::Unchanged,
        ),
        unit(
            Vec::new(),
            &[],
            &[1, 7],
            append(2, TreeChange::Delete { file: FileId(1) }),
        ),
        unit(Vec::new(), &[], &[0], TreeUnit::Removed),
    ]
}

/// As they follow each other.
fn encoded() -> Vec<Vec<u8>> {
    let mut head = Head { seq: 4, hash: 0x1122 };
    let encode = |(at_ms, unit): (u64, Unit)| {
        let encoded = unit.encode(head, at_ms);
        head = encoded.settlement.head;
        encoded.parts.concat()
    };
    (1_800_000_000_000..).zip(units()).map(encode).collect()
}

/// A segment that begins with the end of an earlier unit, and holds a batch for each unit, but for the third, which is
/// written in two.
fn golden() -> Vec<u8> {
    let header = Header {
        id: ID,
        number: 3,
        first_lsn: Lsn::local(FIRST),
        previous: [9; 16],
        previous_end: 8192,
        oldest: 3,
    };
    let mut bytes = header.encode();
    let mut write = |lsn: u64, first: bool, last: bool, piece: &[u8], synced: u64| {
        let mut batch = Batch::new();
        batch.begin_chunk(Lsn::local(lsn), first, last, piece.len());
        batch.extend(piece);
        bytes.extend(batch.finish(&ID, Lsn::local(synced), 3));
    };
    write(
        FIRST,
        false,
        true,
        b"what is left of a unit that began before",
        FIRST - 1,
    );
    for (lsn, encoded) in (FIRST + 1..).zip(encoded()) {
        if lsn == FIRST + 3 {
            let (one, two) = encoded.split_at(1000);
            write(lsn, true, false, one, lsn - 1);
            write(lsn, false, true, two, lsn - 1);
        } else {
            write(lsn, true, true, &encoded, lsn - 1);
        }
    }
    bytes
}

/// What is read of a segment that has these bytes.
fn read(dir: &Path, bytes: &[u8]) -> Result<Vec<Decoded>, String> {
    std::fs::write(segment::path(dir, 3), bytes).unwrap();
    let mut found = Vec::new();
    let read = recovery::read(dir, |_, unit| {
        found.push(unit);
        Ok(())
    });
    read.map(|_| found).map_err(|error| error.to_string())
}

#[test]
fn the_golden_segment_is_what_this_version_writes_and_reads() {
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/storage/journal/tests/golden.journal");
        std::fs::write(path, golden()).unwrap();
    }
    assert!(GOLDEN == golden(), "the format has changed");
    let dir = super::failures::temporary();
    let found = read(dir.path(), GOLDEN).unwrap();
    assert_eq!(found.len(), 5);
    assert_eq!((found[0].namespace.as_str(), found[0].object), ("t", object_id(5)));
    assert_eq!(found[4].tree, TreeUnit::Removed);
}

#[test]
fn of_a_segment_that_was_cut_or_changed_a_beginning_is_read() {
    let dir = super::failures::temporary();
    let all = read(dir.path(), GOLDEN).unwrap();
    let mut read_most = 0;
    let mut check = |bytes: &[u8], what: String| match read(dir.path(), bytes) {
        Ok(found) => {
            assert!(all.starts_with(&found), "{what}: something else is read");
            read_most = read_most.max(found.len());
            Some(found.len())
        }
        Err(_) => None,
    };
    for length in 0..GOLDEN.len() {
        let is_header = length < BLOCK_BYTES;
        // Within zeroes one place is like the other.
        if length % 64 == 0 || GOLDEN[length] != 0 {
            let found = check(&GOLDEN[..length], format!("cut at {length}"));
            assert!(is_header || found.is_some(), "a torn end at {length} is refused");
        }
    }
    let mut bytes = GOLDEN.to_vec();
    for at in 0..GOLDEN.len() {
        if at % 64 != 0 && GOLDEN[at] == 0 && GOLDEN[at - 1] == 0 {
            continue;
        }
        for change in [0x01, 0x80, 0xff] {
            bytes[at] ^= change;
            check(&bytes, format!("byte {at} changed by {change:#x}"));
            bytes[at] ^= change;
        }
    }
    assert_eq!(read_most, all.len());
}

#[test]
fn decoders_take_any_bytes() {
    let mut random = Random::new(7);
    let units = encoded();
    let index = include_bytes!("../../../index/load/golden.facets");
    for _ in 0..MUTATIONS {
        let unit = random.pick(&units).clone();
        crate::fuzzing::unit(&mutated(&mut random, unit));
        let batch = GOLDEN[2 * BLOCK_BYTES..3 * BLOCK_BYTES].to_vec();
        crate::fuzzing::batch(&mutated(&mut random, batch));
        crate::fuzzing::index(&mutated(&mut random, index.to_vec()));
        if random.one_in(8) {
            crate::fuzzing::segment(&mutated(&mut random, GOLDEN.to_vec()));
        }
    }
}

fn mutated(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..1 + random.below(4) {
        // Beginnings hold lengths and pointers.
        let reach = if random.one_in(2) {
            bytes.len().min(200)
        } else {
            bytes.len()
        };
        let at = random.below(reach);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => {
                let piece = random.below(16);
                let noise = random.noise(piece);
                bytes.splice(at..at, noise);
            }
            2 => {
                let end = (at + random.below(32)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 if at < bytes.len() => bytes[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            _ if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}
