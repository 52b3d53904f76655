//! Whatever is damaged, what is salvaged is a journal, of the units before the damage, as they were.

use std::path::Path;

use super::basic::{Data, put_only};
use super::random::Random;
use crate::storage::journal::batch::BLOCK_BYTES;
use crate::storage::journal::recovery::{self, JournalError};
use crate::storage::journal::salvage::salvage;
use crate::storage::journal::unit::Decoded;
use crate::storage::journal::*;

const DAMAGES: u64 = 60;

fn units(dir: &Path) -> Result<Vec<(Lsn, Decoded)>, JournalError> {
    let mut units = Vec::new();
    recovery::read(&dir.join("journal"), |lsn, unit| {
        units.push((lsn, unit));
        Ok(())
    })?;
    Ok(units)
}

/// A journal of some segments that nobody has closed.
fn written(random: &mut Random) -> Data {
    let mut data = Data::new();
    data.options.segment_bytes = 4 << 20;
    let (journal, _) = data.open(false).unwrap();
    let (mut one, mut other) = (data.store(&journal, 1, false), data.store(&journal, 2, false));
    // It holds the oldest segment.
    put_only(&mut other, b"held");
    let mut last = Lsn::ZERO;
    for _ in 0..40 {
        let bytes = random.below(600_000);
        last = put_only(&mut one, &random.noise(bytes));
    }
    journal.progress().wait(last).unwrap();
    let mut killed = data.killed();
    killed.options = data.options.clone();
    killed
}

fn damage(data: &Data, random: &mut Random) -> String {
    let logs = data.names(".log");
    let log = random.pick(&logs).clone();
    let mut bytes = std::fs::read(&log).unwrap();
    let batches = (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES);
    let batches: Vec<_> = batches.filter(|at| bytes[*at..].starts_with(b"fbat")).collect();
    let what = match random.below(6) {
        0 => {
            std::fs::remove_file(&log).unwrap();
            return format!("{} removed", log.display());
        }
        1 => {
            bytes[random.below(80)] ^= 1;
            "header"
        }
        2 => {
            let end = random.below(bytes.len());
            bytes.truncate(end);
            "cut"
        }
        3 => {
            let at = random.below(bytes.len() / BLOCK_BYTES) * BLOCK_BYTES;
            bytes[at..at + BLOCK_BYTES].fill(0);
            "block"
        }
        _ => {
            let at = *random.pick(&batches);
            bytes[at + random.below(200)] ^= 0x10;
            "batch"
        }
    };
    std::fs::write(&log, bytes).unwrap();
    format!("{what} of {}", log.display())
}

#[test]
fn what_is_salvaged_is_the_journal_up_to_the_damage() {
    let mut random = Random::new(7);
    let whole = written(&mut random);
    let original = units(whole.root()).unwrap();
    assert!(whole.names(".log").len() > 2 && original.len() == 41);
    let (mut damaged, mut some, mut nothing) = (0, 0, 0);
    for _ in 0..DAMAGES {
        let data = whole.killed();
        let what = damage(&data, &mut random);
        let strict = units(data.root());
        let marked = std::cell::Cell::new(false);
        let found = salvage(data.root(), &whole.options, |_| {
            marked.set(true);
            Ok(())
        });
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        let is_damaged = strict.is_err();
        assert_eq!((found.is_some(), marked.get()), (is_damaged, is_damaged), "{what}");
        let now = units(data.root()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let Some(found) = found else {
            // An end that may never have been acknowledged.
            assert_eq!(now, strict.unwrap(), "{what}");
            continue;
        };
        damaged += 1;
        assert!(
            original.starts_with(&now),
            "{what}: {} units that were never so",
            now.len()
        );
        assert_eq!(found.upto, now.last().map_or(Lsn::ZERO, |(lsn, _)| *lsn), "{what}");
        assert!(
            now.len() as u64 + found.left <= original.len() as u64,
            "{what}: more than there were"
        );
        match now.is_empty() {
            true => nothing += 1,
            false => some += 1,
        }
        // And it can be opened.
        let (journal, recovered) = data.open(true).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(recovered.units, now.len() as u64);
        drop(journal);
    }
    assert!(
        damaged > DAMAGES / 2 && some > 10 && nothing > 3,
        "{damaged} {some} {nothing}"
    );
}
