//! Every queue, loop, buffer and name has a limit with a name; these are the ones that more than one module needs. The
//! table for users is `docs/limits.md`.

use crate::startup::StartupLimits;

/// Depth of a facet tree, the root included (S2).
pub const TREE_DEPTH_MAX: usize = 16;
/// Facets of one object that exist or that somebody holds a stub of (S2).
pub const FACETS_PER_OBJECT_MAX: usize = 65_536;
/// What one turn may change of its tree, as it is recorded, bytes: startups of restarts and clones with their props. Deletes
/// do not count: a full journal takes them.
pub const TREE_CHANGES_BYTES_MAX: usize = 8 << 20;
/// Events waiting for one facet (S25).
pub const MAILBOX_LEN_MAX: usize = 64;
/// Events of one facet that have begun and not ended (S25).
pub const IN_FLIGHT_MAX: usize = 32;
/// Body of a payload, bytes (S25).
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;
/// Props of a startup, bytes (S25).
pub const PROPS_BYTES_MAX: usize = 64 << 10;
/// Facets that wait for each other in one chain of calls (S25).
pub const CALL_CHAIN_MAX: usize = 32;
/// Stubs, cursors, transactions and other handles that one facet holds (S25).
pub const HANDLES_MAX: usize = 1_000;
/// Bytes that one event may write to the log (S25).
pub const LOG_BYTES_PER_EVENT_MAX: usize = 64 << 10;
/// Reason of an abort, badge of a stub, text id: bytes.
pub const LABEL_BYTES_MAX: usize = 1_024;
/// Name of a method, bytes.
pub const METHOD_BYTES_MAX: usize = 256;
/// A component, bytes.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// One piece of an upload or of an HTTP body, bytes.
pub const PIECE_BYTES_MAX: usize = 1 << 20;
/// Pieces of an HTTP body that wait for their reader.
pub const PIPE_PIECES_MAX: usize = 64;
/// Calls that a blocking guest has started and not waited for.
pub const PENDING_CALLS_MAX: usize = 64;
/// Bytes of one `random.bytes`.
pub const RANDOM_BYTES_MAX: u32 = 65_536;
/// How long a start hook may take, ms.
pub const START_WALL_MS: u64 = 30_000;
/// How long `context.block` may be held, ms (S21).
pub const GATE_HELD_MS_MAX: u64 = 30_000;

/// The limits that apply to one facet: its startup's, where set and lower, else its parent's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Linear memories and tables together, bytes.
    pub memory_bytes: u64,
    /// CPU time for each event, ms; sampled by 5 ms slices.
    pub cpu_ms: u64,
    /// Wall time for each event, ms.
    pub wall_ms: u64,
    /// The facet's database, bytes.
    pub storage_bytes: u64,
}

/// The limits that apply to one tree, or to all facets of a namespace together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedLimits {
    /// Linear memories and tables of what runs, bytes.
    pub memory_bytes: u64,
    /// Databases, bytes; not used for a namespace.
    pub storage_bytes: u64,
    /// Facets that run.
    pub running: usize,
}

impl SharedLimits {
    /// None at all.
    pub const NONE: Self = Self {
        memory_bytes: u64::MAX,
        storage_bytes: u64::MAX,
        running: usize::MAX,
    };
}

impl Default for Limits {
    /// S25: 64 MiB memory, 1 s CPU and 30 s wall time an event, 1 GiB storage.
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            cpu_ms: 1_000,
            wall_ms: 30_000,
            storage_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// These, lowered to what a startup asks for. A startup cannot raise a limit.
    pub fn lowered(self, by: &StartupLimits) -> Self {
        let lower =
            |mine: u64, theirs: Option<u64>, unit: u64| theirs.map_or(mine, |t| mine.min(t.saturating_mul(unit)));
        Self {
            memory_bytes: lower(self.memory_bytes, by.memory_mib, 1 << 20),
            cpu_ms: lower(self.cpu_ms, by.cpu_ms, 1),
            wall_ms: lower(self.wall_ms, by.wall_ms, 1),
            storage_bytes: lower(self.storage_bytes, by.storage_mib, 1 << 20),
        }
    }
}
