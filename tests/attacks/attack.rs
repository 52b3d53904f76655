//! What an attack is: a name, what is done, and what must come of it.

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::support::client::Failure;

/// On the host that is there; more than once, if it is in doubt what it left.
type Run = dyn Fn(&Arena) -> Result<()> + Send;

pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) run: Box<Run>,
    /// A host of its own is hurt on purpose: nothing is checked afterwards but what the attack checks.
    pub(crate) on_own_host: bool,
}

impl Attack {
    pub(crate) fn new(name: &str, run: impl Fn(&Arena) -> Result<()> + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            run: Box::new(run),
            on_own_host: false,
        }
    }

    pub(crate) fn on_own_host(name: &str, run: impl Fn() -> Result<()> + Send + 'static) -> Self {
        Self {
            on_own_host: true,
            ..Self::new(name, move |_| run())
        }
    }

    /// A deed of an object that has the attack's name.
    pub(crate) fn deed(name: &str, deed: Value, must: Must) -> Self {
        let on = object(name);
        Self::new(name, move |arena| must.check(arena.villain(&on, &deed)?))
    }

    /// The same by a child, whose error the object is told.
    pub(crate) fn child(name: &str, start: Value, deed: Value, must: Must) -> Self {
        let on = object(name);
        let deed = json!({"do": "child", "name": "child", "start": start, "deed": deed});
        Self::new(name, move |arena| {
            let told = arena
                .villain(&on, &deed)?
                .map_err(|failure| anyhow!("the parent: {failure:?}"))?;
            must.check(told_as_answer(told)?)
        })
    }
}

pub(crate) fn object(attack: &str) -> String {
    format!("evil/{attack}")
}

/// `{"ok": value}` or `{"err": failure}`, as villains tell of calls that they have made.
pub(crate) fn told_as_answer(mut told: Value) -> Result<Result<Value, Failure>> {
    match told.get_mut("err") {
        Some(failure) => Ok(Err(serde_json::from_value(failure.take())?)),
        None => {
            ensure!(told.get("ok").is_some(), "tells of no call: {told}");
            Ok(Ok(told["ok"].take()))
        }
    }
}

/// What must come of it.
#[derive(Clone)]
pub(crate) enum Must {
    Answer(Value),
    /// Kind, code, outcome.
    Fail(&'static str, &'static str, &'static str),
    /// The same, and a word of the message.
    Say(&'static str, &'static str, &'static str, &'static str),
    /// One of several that are all right.
    Either(Vec<Must>),
}

impl Must {
    /// The facet is lost in its first turn, which is undone.
    pub(crate) fn broken(code: &'static str) -> Self {
        Self::Fail("broken", code, "not-applied")
    }

    /// The same in a later turn, or while it waits: those before are kept.
    pub(crate) fn broken_later(code: &'static str) -> Self {
        Self::Fail("broken", code, "unknown")
    }

    /// The villain's own error, made of the host's: its kind is the code.
    pub(crate) fn refused(kind: &'static str, message: &'static str) -> Self {
        Self::Say("failed", kind, "applied", message)
    }

    pub(crate) fn check(&self, answer: Result<Value, Failure>) -> Result<()> {
        ensure!(self.holds(&answer), "expected {}, not {answer:?}", self.shown());
        Ok(())
    }

    fn holds(&self, answer: &Result<Value, Failure>) -> bool {
        let fits = |failure: &Failure, kind: &str, code: &str, outcome: &str| {
            failure.kind == kind && failure.code == code && failure.outcome == outcome
        };
        match (self, answer) {
            (Self::Answer(expected), Ok(value)) => expected == value,
            (Self::Fail(kind, code, outcome), Err(failure)) => fits(failure, kind, code, outcome),
            (Self::Say(kind, code, outcome, word), Err(failure)) => {
                fits(failure, kind, code, outcome) && failure.message.contains(word)
            }
            (Self::Either(all), answer) => all.iter().any(|must| must.holds(answer)),
            (Self::Answer(_), Err(_)) | (Self::Fail(..) | Self::Say(..), Ok(_)) => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Answer(value) => value.to_string(),
            Self::Fail(kind, code, outcome) => format!("{kind} / {code}, {outcome}"),
            Self::Say(kind, code, outcome, word) => format!("{kind} / {code}, {outcome}, with {word:?}"),
            Self::Either(all) => all.iter().map(Self::shown).collect::<Vec<_>>().join(" or "),
        }
    }
}
