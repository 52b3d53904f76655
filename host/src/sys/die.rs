//! Where a test has the host die, by SIGKILL: nothing is unwound, flushed or closed. Unless a test asks for it by the
//! environment, passing a point looks at one cell and does nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// `POINT` or `POINT:NTH`: dies where the process passes that point for the nth time. `tell`: writes each point that is
/// passed to standard error. Anything else ends the process with the list of all points.
const VARIABLE: &str = "FACETD_TEST_DIE_AT";
/// How the list of points and the last words are found in a log.
const PREFIX: &str = "die-at:";

macro_rules! points {
    ($($(#[doc = $doc:literal])* $point:ident = $word:literal,)*) => {
        /// A boundary between two steps of something that must happen as a whole or not at all.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Point {
            $($(#[doc = $doc])* $point,)*
        }

        impl Point {
            const ALL: &[Self] = &[$(Self::$point),*];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$point => $word,)*
                }
            }
        }
    };
}

points! {
    /// The journal is about to be read, after every start.
    Opening = "opening",
    /// The copies of a clone are announced, and nothing of them is made.
    CopiesAnnounced = "copies-announced",
    /// A clone has made the file of a copy, with nothing in it.
    CopyCreated = "copy-created",
    /// It holds what its source holds, and says that it is its source.
    CopyFilled = "copy-filled",
    /// It says whose it is.
    CopyStamped = "copy-stamped",
    /// It is durable, and nothing names it.
    CopySynced = "copy-synced",
    /// A turn is committed in its database, and in nothing else.
    Committed = "committed",
    /// A unit is about to be queued for the journal.
    Appending = "appending",
    /// It is queued.
    Appended = "appended",
    /// Its batch is about to be written.
    BatchBegun = "batch-begun",
    /// The batch is durable, and nobody knows.
    BatchWritten = "batch-written",
    /// The batch is acknowledged; files do not follow yet.
    BatchPublished = "batch-published",
    /// Files are about to follow a unit.
    Settling = "settling",
    /// A record was appended to an index.
    IndexAppended = "index-appended",
    /// What was left of an earlier index is gone, the new one is not begun.
    IndexCleared = "index-cleared",
    /// An index of nothing is gone.
    IndexRemoved = "index-removed",
    /// An index says how far the history of its object has come.
    HeadShown = "head-shown",
    /// A database is gone, what lies beside it is not.
    DatabaseUnlinked = "database-unlinked",
    /// All that belonged to a database is gone.
    DatabaseRemoved = "database-removed",
    /// Files show all of a batch.
    Settled = "settled",
    /// The log of a database has been moved into it.
    LogFolded = "log-folded",
    /// The database is closed, its log is gone.
    DatabaseClosed = "database-closed",
    /// An index that is mostly history is written anew under another name.
    RewriteWritten = "rewrite-written",
    /// And has got its name.
    RewriteRenamed = "rewrite-renamed",
    /// Recovery knows what to do.
    RedoPlanned = "redo-planned",
    /// The logs of databases are gone.
    RedoPrepared = "redo-prepared",
    /// A page is written into a database.
    RedoPage = "redo-page",
    /// A unit is carried out in databases.
    RedoUnit = "redo-unit",
    /// A database that was deleted is gone.
    RedoRemoved = "redo-removed",
    /// A database has its length.
    RedoLength = "redo-length",
    /// An index of nothing is gone.
    RedoIndexRemoved = "redo-index-removed",
    /// An index is written anew under another name.
    RedoIndexWritten = "redo-index-written",
    /// And has got its name.
    RedoIndexRenamed = "redo-index-renamed",
    /// An index says how far the history of its object has come.
    RedoHeadShown = "redo-head-shown",
    /// All units are carried out.
    RedoDone = "redo-done",
    /// Databases and indexes of all namespaces agree.
    Mended = "mended",
    /// All of it is durable.
    RecoverySynced = "recovery-synced",
    /// The next segment of the journal is begun.
    RecoveryBegun = "recovery-begun",
    /// An old segment is gone.
    RecoveryReleased = "recovery-released",
    /// At a clean stop everything is durable outside of the journal.
    StopSynced = "stop-synced",
    /// An empty segment is begun.
    StopBegun = "stop-begun",
    /// The old ones are gone; the directory is still marked as in use.
    StopReleased = "stop-released",
}

enum Plan {
    Tell,
    Die { at: Point, passes_left: AtomicU32 },
}

/// The process has come to a point. It may not come back.
pub(crate) fn pass(point: Point) {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    match PLAN.get_or_init(asked_for) {
        None => {}
        Some(Plan::Tell) => eprintln!("{PREFIX} passes {}", point.word()),
        Some(Plan::Die { at, passes_left }) => {
            let is_time = *at == point && passes_left.fetch_sub(1, Ordering::SeqCst) == 1;
            if is_time {
                eprintln!("{PREFIX} dies at {}", point.word());
                die();
            }
        }
    }
}

fn asked_for() -> Option<Plan> {
    let text = std::env::var(VARIABLE).ok()?;
    if text == "tell" {
        return Some(Plan::Tell);
    }
    let (word, nth) = text.split_once(':').unwrap_or((&text, "1"));
    let at = Point::ALL.iter().find(|point| point.word() == word);
    match (at, nth.parse()) {
        (Some(at), Ok(nth @ 1..)) => Some(Plan::Die {
            at: *at,
            passes_left: AtomicU32::new(nth),
        }),
        _ => {
            let words: Vec<_> = Point::ALL.iter().map(|point| point.word()).collect();
            eprintln!(
                "{PREFIX} {VARIABLE}={text:?} names no point; there are: {}",
                words.join(" ")
            );
            std::process::exit(2)
        }
    }
}

fn die() -> ! {
    loop {
        // It does not come back; an error, which there is no reason for, is tried again.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
