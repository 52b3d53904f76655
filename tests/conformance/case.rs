//! A case is understood entirely or not at all: an unknown field, step, placeholder or matcher is an error.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::compare;
use super::support::{components, identity};

/// The promises of the design (section 3) that a case may name.
const SEMANTICS: &[&str] = &[
    "S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S8a", "S9", "S10", "S10a", "S11", "S12", "S13", "S14", "S15",
    "S16", "S17", "S18", "S19", "S19b", "S20", "S21", "S22", "S23", "S24", "S25",
];

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) semantics: Vec<String>,
    pub(crate) needs: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

pub(crate) enum Step {
    Run {
        on: String,
        ops: Value,
        expect: Expect,
        within_ms: Option<u64>,
    },
    Method {
        on: String,
        method: String,
        args: Value,
        expect: Expect,
        within_ms: Option<u64>,
    },
    Http {
        request: Http,
        within_ms: Option<u64>,
    },
    Parallel(Vec<Step>),
    WaitMs(u64),
    Restart,
    Kill,
    Files(Files),
}

pub(crate) enum Expect {
    Results(Vec<Value>),
    /// What any other method answers.
    Answer(Value),
    /// An `$err` matcher for the whole call.
    Fails(Value),
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    pub(crate) object: String,
    pub(crate) present: Option<Vec<String>>,
    pub(crate) absent: Option<Vec<String>>,
    pub(crate) count: Option<usize>,
}

/// `GET /o/{on}{path}` and the like, for what a root's `http` export answers.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    pub(crate) on: String,
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Map<String, Value>,
    /// Text, or `{"$b64": ...}`.
    pub(crate) body: Option<Value>,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) expect_headers: Map<String, Value>,
    /// What the body is as text; a value or a matcher.
    pub(crate) expect_body: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    semantics: Vec<String>,
    #[serde(default)]
    needs: Vec<String>,
    steps: Vec<RawStep>,
}

/// Every field of every kind of step; which of them are there tells the kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    on: Option<String>,
    run: Option<Vec<Value>>,
    method: Option<String>,
    args: Option<Vec<Value>>,
    expect: Option<Value>,
    fails: Option<Value>,
    within_ms: Option<u64>,
    parallel: Option<Vec<RawStep>>,
    wait_ms: Option<u64>,
    host: Option<String>,
    files: Option<Files>,
    http: Option<Http>,
}

impl Case {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let raw: RawCase = serde_json::from_str(text)?;
        ensure!(!raw.steps.is_empty(), "a case without steps tests nothing");
        ensure!(!raw.semantics.is_empty(), "a case names the promises that it tests");
        if let Some(unknown) = raw.semantics.iter().find(|s| !SEMANTICS.contains(&s.as_str())) {
            bail!("{unknown:?} is not a promise of the design");
        }
        let steps = raw.steps.into_iter().enumerate();
        let steps = steps
            .map(|(i, raw)| raw.step().with_context(|| format!("step {i}")))
            .collect::<Result<_>>()?;
        Ok(Self {
            name: raw.name,
            semantics: raw.semantics,
            needs: raw.needs,
            steps,
        })
    }

    /// Whether it stops hosts or looks at files, which no other case would survive.
    pub(crate) fn needs_own_host(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Restart | Step::Kill | Step::Files(_)))
    }
}

impl RawStep {
    fn step(self) -> Result<Step> {
        let Self {
            on,
            run,
            method,
            args,
            expect,
            fails,
            within_ms,
            parallel,
            wait_ms,
            host,
            files,
            http,
        } = self;
        let call = match (on, run, method, args) {
            (None, None, None, None) => None,
            (Some(on), Some(ops), None, None) => {
                let expect = expected(expect, fails)?;
                let expect = match expect {
                    Expect::Answer(Value::Array(results)) => Expect::Results(results),
                    Expect::Answer(other) => bail!("{other} is no list of results"),
                    Expect::Fails(_) | Expect::Results(_) => expect,
                };
                if let Expect::Results(results) = &expect {
                    let (many, wanted) = (ops.len(), results.len());
                    ensure!(many == wanted, "{many} operations, but {wanted} results expected");
                }
                Some(Step::Run {
                    on,
                    ops: Value::Array(ops),
                    expect,
                    within_ms,
                })
            }
            (Some(on), None, Some(method), Some(args)) => Some(Step::Method {
                on,
                method,
                args: Value::Array(args),
                expect: expected(expect, fails)?,
                within_ms,
            }),
            _ => bail!("beside `on` stands either `run`, or `method` and `args`"),
        };
        // All fields, so that one too many is as wrong as one too few.
        Ok(match (call, within_ms, parallel, wait_ms, host, files, http) {
            (Some(call), _, None, None, None, None, None) => call,
            (None, within_ms, None, None, None, None, Some(request)) => {
                let mut expected = request.expect_headers.values().chain(&request.expect_body);
                expected.try_for_each(compare::check).map_err(anyhow::Error::msg)?;
                Step::Http { request, within_ms }
            }
            (None, None, Some(steps), None, None, None, None) => {
                let steps = steps.into_iter().map(Self::step).collect::<Result<Vec<_>>>()?;
                let alone = |s: &Step| matches!(s, Step::Restart | Step::Kill | Step::Files(_));
                ensure!(
                    !steps.iter().any(alone),
                    "`host` and `files` cannot stand in `parallel`"
                );
                Step::Parallel(steps)
            }
            (None, None, None, Some(ms), None, None, None) => Step::WaitMs(ms),
            (None, None, None, None, Some(host), None, None) => match host.as_str() {
                "restart" => Step::Restart,
                "kill" => Step::Kill,
                other => bail!("\"host\": {other:?} is neither \"restart\" nor \"kill\""),
            },
            (None, None, None, None, None, Some(files), None) => Step::Files(files),
            _ => bail!("these fields together are no step; README.md lists the steps"),
        })
    }
}

fn expected(expect: Option<Value>, fails: Option<Value>) -> Result<Expect> {
    Ok(match (expect, fails) {
        (Some(answer), None) => {
            compare::check(&answer).map_err(anyhow::Error::msg)?;
            Expect::Answer(answer)
        }
        (None, Some(fails)) => {
            let fails = if fails.is_string() {
                json!({"$err": fails})
            } else {
                fails
            };
            ensure!(fails.get("$err").is_some(), "`fails` is a kind or an $err matcher");
            compare::check(&fails).map_err(anyhow::Error::msg)?;
            Expect::Fails(fails)
        }
        _ => bail!("a call has either `expect` or `fails`"),
    })
}

/// A word that no other run of a case has used as the name of an object. The process id tells nextest's processes apart.
pub(crate) fn fresh_word(stem: &str) -> String {
    static USED: AtomicU32 = AtomicU32::new(0);
    format!(
        "{stem}-{:x}-{}",
        std::process::id(),
        USED.fetch_add(1, Ordering::Relaxed)
    )
}

/// Fills in the placeholders of a case's text, which is JSON: what they stand for needs no escaping.
///
/// `{case}`: the fresh word. `{id:NS}`: the id of the object of that name in namespace `NS`. `{component:CLASS}`,
/// `{component:CLASS+SALT}`: a built component in base64; the salt makes it one that the host has never seen.
/// `{digest:...}`: its digest. Other text in braces stays as it is.
pub(crate) fn fill_in(text: &str, word: &str, config: &std::path::Path) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled += before;
        let (inside, behind) = after.split_once('}').unwrap_or((after, ""));
        let component = |class: &str| match class.split_once('+') {
            Some((class, salt)) => components::component(config, class, Some(salt)),
            None => components::component(config, class, None),
        };
        let replacement = match inside.split_once(':') {
            None if inside == "case" => word.to_owned(),
            // Unique keys default to the names of namespaces, and this config sets none.
            Some(("id", namespace)) => identity::object_id(namespace, word),
            Some(("component", class)) => base64::engine::general_purpose::STANDARD.encode(component(class)?),
            Some(("digest", class)) => identity::class_digest(&component(class)?),
            _ => {
                filled.push('{');
                rest = after;
                continue;
            }
        };
        filled += &replacement;
        rest = behind;
    }
    Ok(filled + rest)
}
