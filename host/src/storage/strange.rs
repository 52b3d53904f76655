//! Logs that a killed host left are never read, and go while the next one serves, so that a clean stop leaves ordinary files. Only
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
        let (Found::Companion(_), true) = (found.found, found.is_home) else {
            continue;
        };
        if let Some((object, file)) = layout::beside(&found.path) {
            let dir = dir.into();
            let database = DbFile { dir, object, file };
            pins.while_closed(&database, || remove_if_there(&found.path))
                .transpose()?;
        }
    }
    Ok(())
}
