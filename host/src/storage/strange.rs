//! Logs and temporary files that a killed host left are never read, and go while the next one serves, so that a clean stop leaves ordinary files. Only
//! names are looked at for that, and no database.

use std::io;
use std::path::Path;

use super::file::{DbFile, remove_if_there};
use super::journal::Pins;
use crate::sys::layout::{self, Found};

/// Removes those of the databases of a namespace, but of none that this process has opened.
pub(crate) fn remove_strange_logs(dir: &Path, pins: &Pins) -> io::Result<()> {
    for found in layout::walk(dir) {
        let found = found?;
        let (Found::Companion(object, file), true) = (found.found, found.is_home) else {
            continue;
        };
        let dir = dir.into();
        let database = DbFile { dir, object, file };
        pins.while_closed(&database, || remove_if_there(&found.path))
            .transpose()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{FileId, ObjectId};

    #[test]
    fn what_a_killed_host_left_beside_databases_goes_unless_somebody_has_opened_them() {
        let dir = tempfile::tempdir().unwrap();
        layout::make_homes(dir.path()).unwrap();
        let pins = Pins::default();
        let file = |file| DbFile {
            dir: dir.path().into(),
            object: ObjectId([5; 32]),
            file: FileId(file),
        };
        let beside = |file: &DbFile, end: &str| {
            let mut name = file.path().into_os_string();
            name.push(end);
            std::path::PathBuf::from(name)
        };
        let ends = ["-wal", "-tmp-0", "-tmp-17"];
        for database in [file(1), file(2)] {
            for end in ends {
                std::fs::write(beside(&database, end), b"left").unwrap();
            }
        }
        pins.open(&file(2));
        remove_strange_logs(dir.path(), &pins).unwrap();
        for end in ends {
            assert!(!beside(&file(1), end).exists(), "{end}");
            assert!(beside(&file(2), end).exists(), "{end} of one that is open");
        }
    }
}
