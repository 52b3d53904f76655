//! What operators and parents may know: state, class and use of each facet.

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::alarms::AlarmKey;
use crate::ids::{FacetName, FileId};
use crate::live::{Object, join};
use crate::object::NodeId;

/// One facet of a tree.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Names from the root joined by `/`; empty for the root.
    pub path: String,
    /// `running` or `idle`.
    pub state: &'static str,
    /// Digest of its class.
    pub class: String,
    /// Bytes of its database.
    pub storage_bytes: u64,
    /// Bytes of its memories and tables; 0 while it is idle.
    pub memory_bytes: u64,
    /// CPU time since it was started, ms.
    pub cpu_ms: u64,
    /// The same, for sums of many that have used little.
    #[serde(skip)]
    cpu_ns: u64,
    /// When its alarm is due, Unix time in ms; none while its handler runs.
    pub alarm_ms: Option<u64>,
}

/// What a facet and everything below it use.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    /// Bytes of memories and tables of what runs.
    pub memory_bytes: u64,
    /// CPU time of what runs, ms.
    pub cpu_ms: u64,
    /// Bytes of databases.
    pub storage_bytes: u64,
}

impl Object {
    /// The facets that exist at and below a node, parents first.
    pub(crate) fn report(&self, node: NodeId) -> Vec<Report> {
        let facets: Vec<_> = {
            let inner = self.lock();
            let facets = inner.tree.subtree(node).into_iter();
            facets
                .map(|info| (info.incarnation.and_then(|i| inner.control(i)).cloned(), info))
                .collect()
        };
        let on_disk = |file| std::fs::metadata(self.db_file(file).path()).map_or(0, |found| found.len());
        facets
            .into_iter()
            .map(|(control, info)| {
                let of = |value: &std::sync::atomic::AtomicU64| value.load(Ordering::Relaxed);
                let live_bytes = control.as_ref().map_or(0, |c| of(&c.storage_bytes));
                let storage_bytes = if live_bytes > 0 {
                    live_bytes
                } else {
                    info.database.map_or(0, on_disk)
                };
                let cpu_ns = control.as_ref().map_or(0, |c| c.cpu.ns());
                Report {
                    path: info.path,
                    state: if control.is_some() { "running" } else { "idle" },
                    class: info.startup.class.to_string(),
                    storage_bytes,
                    memory_bytes: control.as_ref().map_or(0, |c| of(&c.memory_bytes)),
                    cpu_ms: cpu_ns / 1_000_000,
                    cpu_ns,
                    alarm_ms: info.database.and_then(|file| self.alarm_ms(file)),
                }
            })
            .collect()
    }

    fn alarm_ms(&self, file: FileId) -> Option<u64> {
        let object = self.id;
        self.namespace.alarms.due_ms(AlarmKey { object, file })
    }

    /// Sums up a facet and everything below it.
    pub(crate) fn usage(&self, node: NodeId) -> Usage {
        let facets = self.report(node);
        Usage {
            memory_bytes: facets.iter().map(|facet| facet.memory_bytes).sum(),
            cpu_ms: facets.iter().map(|facet| facet.cpu_ns).sum::<u64>() / 1_000_000,
            storage_bytes: facets.iter().map(|facet| facet.storage_bytes).sum(),
        }
    }

    /// The facet in a log line.
    pub(crate) fn describe(&self, path: &[FacetName]) -> String {
        let mut text = format!("{}/{}", self.namespace.name, &self.id.to_string()[..12]);
        if !path.is_empty() {
            text.push(':');
            text.push_str(&join(path));
        }
        text
    }
}
