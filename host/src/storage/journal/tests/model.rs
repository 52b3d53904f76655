//! What was committed, unit by unit, and what lies in a directory: the one must be a beginning of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::ids::{FileId, ObjectId};
use crate::index::{self, Unshown};
use crate::storage::check::damaged_pages;
use crate::storage::file::DbFile;
use crate::storage::is_blank;
use crate::storage::journal::Lsn;

/// A value, by what it weighs.
pub(super) type Value = (u64, u32);

pub(super) fn value(bytes: &[u8]) -> Value {
    (bytes.len() as u64, crc32c::crc32c(bytes))
}

/// What a facet has stored.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Content {
    pub(super) keys: BTreeMap<String, Value>,
    /// Of the guest's table; none if there is none.
    pub(super) rows: Option<BTreeMap<i64, Value>>,
}

impl Content {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.rows.is_none()
    }
}

/// An entry of an index: parent, name, and what it runs.
pub(super) type Entry = (u32, String, u8);

/// One object as files show it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) databases: BTreeMap<u32, Content>,
    pub(super) index: Option<BTreeMap<u32, Entry>>,
}

/// All objects of a directory, by their number.
pub(super) type Everything = BTreeMap<u8, Stored>;

/// One change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Database(u32, Option<Content>),
    Index(Option<BTreeMap<u32, Entry>>),
}

/// Everything that was appended, in order.
#[derive(Clone, Default)]
pub(super) struct History {
    begin: Everything,
    begin_lsn: Lsn,
    units: BTreeMap<Lsn, (u8, Vec<Change>)>,
    /// The highest number that was given.
    pub(super) last: Lsn,
}

impl History {
    pub(super) fn unit(&mut self, lsn: Lsn, object: u8, changes: Vec<Change>) {
        self.last = self.last.max(lsn);
        let before = self.units.insert(lsn, (object, changes));
        assert!(
            before.is_none() && lsn > self.begin_lsn,
            "a number is given twice: {lsn:?}"
        );
    }

    /// What there is after everything up to `lsn`.
    pub(super) fn at(&self, lsn: Lsn) -> Everything {
        let mut all = self.begin.clone();
        for (object, changes) in self.units.range(..=lsn).map(|(_, unit)| unit) {
            let object = all.entry(*object).or_default();
            for change in changes.iter().cloned() {
                match change {
                    Change::Database(file, Some(content)) => drop(object.databases.insert(file, content)),
                    Change::Database(file, None) => drop(object.databases.remove(&file)),
                    Change::Index(index) => object.index = index,
                }
            }
        }
        all.retain(|_, object| *object != Stored::default());
        all
    }

    /// What each unit did, shortly.
    pub(super) fn summary(&self) -> Vec<String> {
        let short = |change: &Change| match change {
            Change::Database(file, Some(_)) => format!("{file}"),
            Change::Database(file, None) => format!("-{file}"),
            Change::Index(Some(entries)) => format!("index {:?}", entries.keys()),
            Change::Index(None) => "no index".to_owned(),
        };
        let units = self.units.iter();
        units
            .map(|(lsn, (object, changes))| {
                let changes: Vec<_> = changes.iter().map(short).collect();
                format!("{}: object {object}: {}", lsn, changes.join(", "))
            })
            .collect()
    }

    /// Nothing after `lsn` has happened.
    pub(super) fn cut(&mut self, lsn: Lsn, now: Everything) {
        *self = Self {
            begin: now,
            begin_lsn: lsn,
            units: BTreeMap::new(),
            last: lsn,
        };
    }
}

pub(super) fn object_id(number: u8) -> ObjectId {
    ObjectId([number; 32])
}

pub(super) fn db_file(dir: &Path, object: u8, file: u32) -> DbFile {
    DbFile {
        dir: dir.into(),
        object: object_id(object),
        file: FileId(file),
    }
}

/// Reads all that is stored in a namespace's directory, as ordinary files; and says what is wrong with them.
/// `with_logs`: as they are with the logs that lie beside them.
pub(super) fn look(dir: &Path, with_logs: bool) -> Result<Everything, String> {
    let mut all = Everything::new();
    let (mut databases, mut indexes) = (Vec::new(), BTreeSet::new());
    let Ok(homes) = std::fs::read_dir(dir) else {
        return Ok(all);
    };
    let entries = homes.flat_map(|home| std::fs::read_dir(home.unwrap().path()).unwrap());
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // What could not be told apart is set aside, for a person.
        if name.contains(".orphan") || name.ends_with(".facets.new") || name.contains(".sqlite-tmp-") {
            continue;
        }
        let number = u8::from_str_radix(&name[..2], 16).unwrap();
        let rest = &name[64..];
        if rest == ".facets" {
            indexes.insert(number);
        } else if let Some(file) = rest.strip_suffix(".sqlite") {
            databases.push((number, file.trim_start_matches('.').parse().unwrap_or(0)));
        } else if !rest.ends_with("-wal") {
            return Err(format!("{name} lies there"));
        }
    }
    for (number, file) in databases {
        let database = db_file(dir, number, file);
        if is_blank(&database).map_err(|error| error.to_string())? {
            // Whoever is given that file begins it anew.
            continue;
        }
        let path = database.path();
        let content =
            read_database(&path, with_logs).map_err(|error| format!("object {number}, database {file}: {error}"))?;
        all.entry(number).or_default().databases.insert(file, content);
    }
    for number in indexes {
        let loaded = index::load(
            &index::path(dir, object_id(number)),
            object_id(number),
            Unshown::Nothing,
        )
        .map_err(|error| format!("object {number}: {error}"))?
        .ok_or("an index is gone")?;
        let root = loaded.root_has_database.then(|| (0, (0, String::new(), 0)));
        let entries = loaded
            .entries
            .into_iter()
            .map(|(file, entry)| {
                let name = entry.name.as_str().to_owned();
                (file.0, (entry.parent.0, name, entry.startup.class.0[0]))
            })
            .chain(root)
            .collect();
        all.entry(number).or_default().index = Some(entries);
    }
    Ok(all)
}

fn read_database(path: &Path, with_log: bool) -> Result<Content, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let conn = if with_log {
        let conn = Connection::open(path).map_err(text)?;
        conn.execute_batch("PRAGMA locking_mode=EXCLUSIVE").map_err(text)?;
        conn
    } else {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{}?immutable=1", path.display()), flags).map_err(text)?
    };
    let damaged = damaged_pages(path).map_err(|error| error.to_string())?;
    if !with_log && !damaged.is_empty() {
        return Err(damaged.join("; "));
    }
    let integrity: String = conn
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .map_err(text)?;
    if integrity != "ok" {
        return Err(format!("integrity_check: {integrity}"));
    }
    let mut content = Content::default();
    let mut keys = conn.prepare("SELECT key, value FROM _facetd_kv").map_err(text)?;
    let found = keys.query_map((), |row| {
        let bytes = row.get_ref(1)?.as_blob()?;
        Ok((row.get::<_, String>(0)?, value(bytes)))
    });
    for row in found.map_err(text)? {
        let (key, value) = row.map_err(text)?;
        content.keys.insert(key, value);
    }
    let has_table = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = 't')";
    if conn.query_row(has_table, (), |row| row.get(0)).map_err(text)? {
        let mut rows = conn.prepare("SELECT id, b FROM t").map_err(text)?;
        let found = rows.query_map((), |row| Ok((row.get::<_, i64>(0)?, value(row.get_ref(1)?.as_blob()?))));
        let found: Result<BTreeMap<_, _>, _> = found.map_err(text)?.collect();
        content.rows = Some(found.map_err(text)?);
    }
    Ok(content)
}

/// Where two states differ, shortly.
pub(super) fn difference(expected: &Everything, found: &Everything) -> Option<String> {
    let numbers: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let none = Stored::default();
    for number in numbers {
        let (a, b) = (
            expected.get(number).unwrap_or(&none),
            found.get(number).unwrap_or(&none),
        );
        if a.index != b.index {
            return Some(format!(
                "object {number}: its index is {:?}, not {:?}",
                b.index, a.index
            ));
        }
        let files: BTreeSet<_> = a.databases.keys().chain(b.databases.keys()).collect();
        for file in files {
            match (a.databases.get(file), b.databases.get(file)) {
                (a, b) if a == b => {}
                (None, Some(_)) => return Some(format!("object {number}: database {file} should not be there")),
                (Some(_), None) => return Some(format!("object {number}: database {file} is missing")),
                (Some(a), Some(b)) => {
                    let keys = a.keys.iter().find(|(key, value)| b.keys.get(*key) != Some(value));
                    let more = b.keys.iter().find(|(key, value)| a.keys.get(*key) != Some(value));
                    let rows = |content: &Content| content.rows.as_ref().map(BTreeMap::len);
                    return Some(format!(
                        "object {number}: database {file} has {more:?} where {keys:?} should be, {:?} rows of {:?}",
                        rows(b),
                        rows(a),
                    ));
                }
                (None, None) => {}
            }
        }
    }
    None
}
