//! Every byte of a golden file is cut and changed: what is read is a prefix of what was written, or an error.

use super::*;
use crate::ids::ClassDigest;
use crate::index::frame::{FRAME_BYTES, encode_header, encode_record};
use crate::startup::{FacetId, FailurePolicy, Format, Grant, Payload, StartupLimits};

const OBJECT: ObjectId = ObjectId([0xab; 32]);
const GOLDEN: &[u8] = include_bytes!("golden.facets");

fn startup(number: u8) -> Startup {
    Startup {
        class: ClassDigest([number; 32]),
        props: Payload {
            format: [Format::Bytes, Format::Json, Format::Cbor][usize::from(number) % 3],
            body: vec![number; usize::from(number)],
        },
        id: match number % 3 {
            0 => None,
            1 => Some(FacetId::Object(ObjectId([number; 32]))),
            _ => Some(FacetId::Text("a text, ü".to_owned())),
        },
        limits: StartupLimits {
            memory_mib: (number.is_multiple_of(2)).then_some(0),
            cpu_ms: (number.is_multiple_of(3)).then_some(u64::MAX),
            wall_ms: Some(30_000),
            storage_mib: None,
            tree_memory_mib: (number.is_multiple_of(5)).then_some(512),
            tree_storage_mib: (number.is_multiple_of(7)).then_some(1),
        },
        on_failure: if number.is_multiple_of(2) {
            FailurePolicy::Isolate
        } else {
            FailurePolicy::Escalate
        },
        grants: match number % 4 {
            0 => Vec::new(),
            many => vec![
                Grant {
                    name: "egress".to_owned(),
                    argument: Payload {
                        format: Format::Json,
                        body: b"{\"hosts\":[\"api.example\"]}".to_vec(),
                    },
                };
                usize::from(many)
            ],
        },
        withheld: match number.is_multiple_of(3) {
            true => vec!["alarms".to_owned(), "facets".to_owned()],
            false => Vec::new(),
        },
    }
}

fn create(file: u32, parent: u32, name: &str) -> TreeChange {
    let name = FacetName::new(name).unwrap();
    TreeChange::Create {
        file: FileId(file),
        parent: FileId(parent),
        name,
        startup: startup(file as u8).into(),
        has_database: true,
    }
}

/// What the golden file was made of.
fn history() -> Vec<Vec<TreeChange>> {
    let delete = |file| TreeChange::Delete { file: FileId(file) };
    vec![
        vec![
            create(1, 0, "a"),
            create(2, 1, "b/c".replace('/', ".").as_str()),
            create(4, 2, "Grüße, 世界"),
        ],
        vec![create(3, 0, "out of order")],
        vec![TreeChange::Restart {
            file: FileId(2),
            startup: startup(77).into(),
        }],
        vec![delete(1), delete(2), delete(4), create(5, 3, "a")],
        vec![],
        vec![create(6, 0, "a"), TreeChange::Empty { file: FileId(3) }],
        vec![TreeChange::Empty { file: FileId(6) }],
        vec![TreeChange::Store { file: FileId(6) }],
        vec![
            TreeChange::Store { file: FileId::ROOT },
            TreeChange::Name {
                name: ObjectName::new("a/b, Grüße\n").unwrap(),
            },
        ],
        vec![TreeChange::Empty { file: FileId::ROOT }],
        vec![TreeChange::Store { file: FileId::ROOT }],
    ]
}

fn file_of(history: &[Vec<TreeChange>]) -> Vec<u8> {
    let mut bytes = encode_header(OBJECT, FileId(1), 9);
    for (seq, changes) in (9..).zip(history) {
        bytes.extend(encode_record(seq, changes));
    }
    bytes
}

/// What each prefix of the history comes to, the empty one first.
fn prefixes() -> Vec<(Loaded, usize)> {
    let history = history();
    (0..=history.len())
        .map(|count| parse(&file_of(&history[..count]), OBJECT).unwrap())
        .collect()
}

fn on_disk(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = super::super::path(dir.path(), OBJECT);
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

#[test]
fn the_golden_file_is_what_this_version_writes_and_reads() {
    if std::env::var_os("FACETD_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/index/load/golden.facets");
        std::fs::write(path, file_of(&history())).unwrap();
    }
    assert!(
        GOLDEN == file_of(&history()),
        "the format has changed: raise its version, keep reading the old one"
    );
    let (_dir, path) = on_disk(GOLDEN);
    let loaded = load(&path, OBJECT, Unshown::Nothing).unwrap().unwrap();
    let files: Vec<_> = loaded.entries.keys().map(|file| file.0).collect();
    assert_eq!(
        (files, loaded.next_file, loaded.next_seq),
        (vec![3, 5, 6], FileId(7), 20)
    );
    assert_eq!(loaded.entries[&FileId(5)].parent, FileId(3));
    assert_eq!(*loaded.entries[&FileId(6)].startup, startup(6));
    let databases = loaded.entries.iter().filter(|(_, entry)| entry.has_database);
    assert_eq!(databases.map(|(file, _)| file.0).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(std::fs::read(&path).unwrap(), GOLDEN, "reading changes nothing");
}

#[test]
fn startups_come_back_as_they_were() {
    for number in 0..=255 {
        let changes = vec![
            TreeChange::Restart {
                file: FileId(u32::from(number)),
                startup: startup(number).into(),
            },
            create(u32::MAX, 7, &"ü".repeat(128)),
        ];
        assert_eq!(
            codec::decode(&codec::encode(&changes), &mut codec::Startups::default()).unwrap(),
            changes
        );
    }
}

#[test]
fn a_file_cut_anywhere_is_a_prefix_or_refused() {
    let prefixes = prefixes();
    for cut in 0..=GOLDEN.len() {
        let (_dir, path) = on_disk(&GOLDEN[..cut]);
        match (
            load(&path, OBJECT, Unshown::Nothing),
            prefixes.iter().find(|(_, good)| *good == cut),
        ) {
            (Ok(Some(loaded)), Some((expected, _))) => assert_eq!(loaded, *expected, "cut at {cut}"),
            (Err(_), None) => {}
            (loaded, _) => panic!("cut at {cut}: {loaded:?}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), &GOLDEN[..cut], "damage is left as it is");
    }
}

#[test]
fn a_file_changed_anywhere_is_a_prefix_or_refused() {
    let prefixes = prefixes();
    let last_record = prefixes[prefixes.len() - 2].1;
    for at in 0..GOLDEN.len() {
        for mask in [1, 0x10, 0x80, 0xff] {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] ^= mask;
            match parse(&bytes, OBJECT) {
                // Only the last record can look like one that was never finished.
                Ok((loaded, good)) => {
                    assert!(at >= last_record, "byte {at} does not matter");
                    assert_eq!((&loaded, good), (&prefixes[prefixes.len() - 2].0, last_record));
                }
                Err(why) => assert!(at < last_record, "byte {at}: {why}"),
            }
        }
    }
}

#[test]
fn damage_in_the_middle_leaves_the_file_alone() {
    let mut bytes = GOLDEN.to_vec();
    bytes[HEADER_BYTES + FRAME_BYTES + 3] ^= 1;
    let (_dir, path) = on_disk(&bytes);
    let error = load(&path, OBJECT, Unshown::Nothing).unwrap_err().to_string();
    assert!(
        error.contains("record 9 at byte 96 is damaged, and good records follow"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // A record is missing altogether.
    let history = history();
    let mut bytes = file_of(&history[..1]);
    bytes.extend(encode_record(11, &[]));
    assert!(
        parse(&bytes, OBJECT)
            .unwrap_err()
            .contains("record 11 where 10 should be")
    );
    let other = ObjectId([1; 32]);
    assert!(parse(GOLDEN, other).unwrap_err().contains("it belongs to object abab"));
}

#[test]
fn changes_that_contradict_each_other_are_refused() {
    let refused = |history: &[Vec<TreeChange>]| parse(&file_of(history), OBJECT).unwrap_err();
    let delete = |file| TreeChange::Delete { file: FileId(file) };
    assert!(refused(&[vec![create(1, 0, "a"), create(1, 0, "b")]]).contains("which exists"));
    assert!(refused(&[vec![create(0, 0, "a")]]).contains("which exists"));
    assert!(refused(&[vec![create(2, 1, "a")]]).contains("which does not exist"));
    assert!(refused(&[vec![create(1, 0, "a")], vec![delete(1)], vec![create(2, 1, "b")]]).contains("does not exist"));
    assert!(refused(&[vec![create(1, 0, "a"), create(2, 0, "a")]]).contains("are named \"a\""));
    let ring = [
        vec![create(1, 0, "a"), create(2, 1, "b")],
        vec![delete(1)],
        vec![create(1, 2, "c"), create(3, 2, "d")],
    ];
    assert!(refused(&ring).contains("is below itself"));
    assert!(refused(&[vec![delete(0)]]).contains("the root is deleted"));
    let name = |name| TreeChange::Name {
        name: ObjectName::new(name).unwrap(),
    };
    assert!(refused(&[vec![name("one")], vec![name("one"), name("two")]]).contains("which is called \"one\""));
}

#[test]
fn with_a_facet_goes_what_is_below_it() {
    let delete = |file| TreeChange::Delete { file: FileId(file) };
    let history = [
        vec![
            create(1, 0, "a"),
            create(2, 1, "b"),
            create(3, 2, "c"),
            create(4, 0, "d"),
        ],
        vec![delete(1)],
        // A turn that began before has deleted it as well.
        vec![delete(3)],
    ];
    let (loaded, _) = parse(&file_of(&history), OBJECT).unwrap();
    assert_eq!(loaded.entries.keys().map(|file| file.0).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_file_of_history_is_rewritten_and_ids_are_not_used_again() {
    let mut history = vec![vec![create(1, 0, "stays"), create(2, 1, "below")]];
    for file in 3..600 {
        history.push(vec![create(file, 2, "x")]);
        history.push(vec![TreeChange::Delete { file: FileId(file) }]);
    }
    let bytes = file_of(&history);
    let (dir, path) = on_disk(&bytes);
    let (before, _) = parse(&bytes, OBJECT).unwrap();
    let loaded = load(&path, OBJECT, Unshown::Nothing).unwrap().unwrap();
    let rewritten = std::fs::read(&path).unwrap();
    assert!(rewritten.len() * 50 < bytes.len());
    assert_eq!((&loaded.entries, loaded.next_file), (&before.entries, FileId(600)));
    assert!(loaded.next_seq > before.next_seq);
    assert_eq!(load(&path, OBJECT, Unshown::Nothing).unwrap().unwrap(), loaded);
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    // Nothing lives: still no id is used twice.
    history.push(vec![
        TreeChange::Delete { file: FileId(2) },
        TreeChange::Delete { file: FileId(1) },
    ]);
    let (_dir, path) = on_disk(&file_of(&history));
    let loaded = load(&path, OBJECT, Unshown::Nothing).unwrap().unwrap();
    assert!(loaded.entries.is_empty() && loaded.next_file == FileId(600));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), HEADER_BYTES as u64);
}

#[test]
fn a_facet_takes_no_less_than_a_rewrite_thinks() {
    let least = |file: u32| TreeChange::Create {
        file: FileId(file),
        parent: FileId(0),
        // Names of one byte are few.
        name: FacetName::new(char::from_u32(0x21 + file % 0x1000).unwrap().encode_utf8(&mut [0; 4])).unwrap(),
        startup: Startup::of(ClassDigest([1; 32])).into(),
        has_database: false,
    };
    let (loaded, _) = parse(&file_of(&[(128..1_128).map(least).collect()]), OBJECT).unwrap();
    let (image, _) = rewrite::image(OBJECT, &loaded);
    assert!(image.len() >= 1_000 * rewrite::ENTRY_BYTES_MIN, "{} bytes", image.len());
}

#[test]
fn a_rewrite_puts_parents_first() {
    // Ids are given when a facet is first named, records are written when it first stores something.
    let history = vec![
        vec![create(9, 0, "p")],
        vec![create(3, 9, "c")],
        vec![create(1, 3, "d")],
        vec![
            TreeChange::Store { file: FileId::ROOT },
            TreeChange::Name {
                name: ObjectName::new("o").unwrap(),
            },
        ],
    ];
    let (loaded, _) = parse(&file_of(&history), OBJECT).unwrap();
    let (image, next_seq) = rewrite::image(OBJECT, &loaded);
    let (again, _) = parse(&image, OBJECT).unwrap();
    assert_eq!(
        (&again.entries, again.next_file, again.next_seq),
        (&loaded.entries, FileId(10), next_seq)
    );
    assert!(again.root_has_database && again.name.unwrap().as_str() == "o");
}
