//! What a process has of the machine, as the system counts it.

use std::fmt;
use std::fs;

use anyhow::{Context, Result};

/// What the allocator may keep: a tenth, and so much.
const RSS_SLACK_KIB: u64 = 8 << 10;
/// tokio keeps the threads of its blocking pool, 64 at most, while there is anything for them to do now and then.
const THREADS_SLACK: u64 = 64;
/// Connections of this test, and databases that are about to be closed.
const DESCRIPTORS_SLACK: u64 = 16;

#[derive(Clone, Copy)]
pub(crate) struct Vitals {
    rss_kib: u64,
    peak_kib: u64,
    threads: u64,
    descriptors: u64,
}

impl Vitals {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("the host is gone")?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next()?.parse().ok());
            number.with_context(|| format!("the host has ended: it has no {name}"))
        };
        Ok(Self {
            // Not what it maps of files, which the system can have back at any time: compiled code among it.
            rss_kib: number("RssAnon")?,
            peak_kib: number("VmHWM")?,
            threads: number("Threads")?,
            descriptors: descriptors(process)?,
        })
    }

    /// More memory, by so much.
    pub(crate) fn is_above(&self, before: &Self, by_kib: u64) -> bool {
        self.rss_kib > before.rss_kib + by_kib
    }

    /// What there is too much of, in comparison with before.
    pub(crate) fn too_much(&self, before: &Self) -> Option<&'static str> {
        if self.rss_kib > before.rss_kib + before.rss_kib / 10 + RSS_SLACK_KIB {
            Some("memory")
        } else if self.threads > before.threads + THREADS_SLACK {
            Some("threads")
        } else if self.descriptors > before.descriptors + DESCRIPTORS_SLACK {
            Some("descriptors")
        } else {
            None
        }
    }
}

/// Without those by which compiled classes are mapped: of classes that nobody runs the host keeps a known number.
fn descriptors(process: u32) -> Result<u64> {
    let mut many = 0;
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // It may be closed by now.
        let Ok(leads_to) = fs::read_link(entry?.path()) else {
            continue;
        };
        many += u64::from(leads_to.extension().is_none_or(|end| end != "cwasm"));
    }
    Ok(many)
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB (peak {}), {} threads, {} descriptors",
            self.rss_kib >> 10,
            self.peak_kib >> 10,
            self.threads,
            self.descriptors
        )
    }
}
