//! What can be done, by name.

use facetd_sdk::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::{calls, handles, loops, sizes, sql, tree, web};

/// `{"do": NAME, ...}`.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Deed {
    /// Computes for ever.
    Spin,
    /// `memory.fill` over all memory, for ever.
    Fill,
    /// `memory.copy`, likewise.
    Copy,
    /// Asks for memory that it cannot have, for ever.
    AskForMemory,
    /// One cheap function of the host for ever.
    Host { what: String },
    /// Wakes at once, for ever.
    Doze,
    /// Tasks that make tasks.
    Tasks,
    /// Sleeps.
    Sleep { ms: u64 },
    /// Takes memory in steps until there is no more, and then dies of it.
    Hoard { step: usize },
    /// Has so much memory for so long.
    HoldMemory { bytes: usize, ms: u64 },
    /// Calls itself for ever.
    Recurse,
    /// `unreachable`.
    Trap,
    /// `context.abort-self`.
    Abort { bytes: usize },
    /// Never opens the gate, and waits; or drops it.
    Gate { drop: bool },
    /// Keeps as many of a kind of handle as it gets; answers how many, and why no more.
    Handles { what: String },
    /// Something of so many bytes.
    Big { what: String, bytes: usize },
    /// Answers so many bytes.
    Answer { bytes: usize },
    /// Fails with so many bytes.
    Fail { bytes: usize },
    /// Writes so many lines of so many bytes to the log.
    Log { lines: usize, bytes: usize },
    /// One statement, `deep` calls down the stack.
    Sql {
        text: String,
        #[serde(default)]
        deep: u32,
    },
    /// The statement again and again.
    SqlStorm { text: String },
    /// A statement made of a part that is repeated.
    SqlBuilt {
        before: String,
        open: String,
        middle: String,
        close: String,
        after: String,
        n: usize,
        deep: u32,
    },
    /// Writes until it is stopped, so many bytes a turn, in keys of their own.
    Write { bytes: usize },
    /// Children that make children: so many each, so deep.
    Fork { width: u32, depth: u32 },
    /// So many names of children, all called.
    Names { n: u32 },
    /// Makes, calls and ends a child again and again.
    Churn { how: String, n: u32 },
    /// Makes a child with a start deed, and has it do another one; answers what came of it.
    Child { name: String, start: Value, deed: Value },
    /// Calls itself, directly or through children.
    Myself { through: u32 },
    /// A chain of calls down the tree, each new facet calling the next.
    Chain { n: u32 },
    /// So many calls at a time to one child, which does a deed.
    Flood { n: u32, deed: Value },
    /// Two children call each other's deeds for ever.
    Storm { n: u32 },
    /// Other objects of the namespace, all called at a time.
    Objects { n: u32 },
    /// A stub is kept while its facet ends, and used again.
    Stale { how: String },
    /// Uploads that are never finished.
    Unfinished { n: usize, bytes: usize },
    /// A response: see `web`.
    Respond { how: String },
    /// Sets the alarm to now.
    Alarm,
    /// Empties its storage, alarm and children included.
    Rest,
    /// An object of another namespace, by name or id.
    Reach { namespace: String, object: String },
}

impl Deed {
    pub(crate) async fn carry_out(self) -> Result<Value> {
        match self {
            Self::Spin => loops::spin(),
            Self::Fill => loops::fill(),
            Self::Copy => loops::copy(),
            Self::AskForMemory => loops::ask_for_memory(),
            Self::Host { what } => loops::host(&what),
            Self::Doze => loops::doze().await,
            Self::Tasks => loops::tasks().await,
            Self::Sleep { ms } => loops::sleep(ms).await,
            Self::Hoard { step } => loops::hoard(step),
            Self::HoldMemory { bytes, ms } => loops::hold_memory(bytes, ms).await,
            Self::Recurse => Ok(loops::recurse(1).into()),
            Self::Trap => core::arch::wasm32::unreachable(),
            Self::Abort { bytes } => facetd_sdk::context::abort_self(&"a".repeat(bytes)),
            Self::Gate { drop } => handles::gate(drop).await,
            Self::Handles { what } => handles::take(&what).await,
            Self::Big { what, bytes } => sizes::big(&what, bytes).await,
            Self::Answer { bytes } => Ok("a".repeat(bytes).into()),
            Self::Fail { bytes } => Err(facetd_sdk::Error::new("c".repeat(bytes), "m".repeat(bytes))),
            Self::Log { lines, bytes } => sizes::log(lines, bytes),
            Self::Sql { text, deep } => sql::deep(&text, deep),
            Self::SqlStorm { text } => sql::storm(&text),
            Self::SqlBuilt {
                before,
                open,
                middle,
                close,
                after,
                n,
                deep,
            } => {
                let text = [before, open.repeat(n), middle, close.repeat(n), after].concat();
                sql::deep(&text, deep)
            }
            Self::Write { bytes } => sql::write(bytes).await,
            Self::Fork { width, depth } => tree::fork(width, depth).await,
            Self::Names { n } => tree::names(n).await,
            Self::Churn { how, n } => tree::churn(&how, n).await,
            Self::Child { name, start, deed } => tree::child(&name, &start, &deed).await,
            Self::Myself { through } => calls::myself(through).await,
            Self::Chain { n } => calls::chain(n).await,
            Self::Flood { n, deed } => calls::flood(n, &deed).await,
            Self::Storm { n } => calls::storm(n).await,
            Self::Objects { n } => calls::objects(n).await,
            Self::Stale { how } => calls::stale(&how).await,
            Self::Unfinished { n, bytes } => handles::unfinished(n, bytes).await,
            Self::Respond { how } => web::elsewhere(&how),
            Self::Alarm => {
                facetd_sdk::alarms::set_at(0)?;
                Ok(Value::Null)
            }
            Self::Rest => {
                facetd_sdk::storage::delete_all()?;
                Ok(Value::Null)
            }
            Self::Reach { namespace, object } => calls::reach(&namespace, &object).await,
        }
    }
}
