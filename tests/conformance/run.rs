//! A case's steps run in their order against one host; the first that differs ends the case and says how.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use serde_json::{Value, json};

use super::case::{Case, Expect, Files, Http, Step, fill_in, fresh_word};
use super::compare;
use super::support::client::{Client, object_path};
use super::support::host::Host;
use super::support::identity;

/// Between two tries of a `within_ms` step: the contract offers nothing to wait on, and that is what the step is for.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// None before the first such case; an error if its host could not be made, which then fails them all.
static SHARED: Mutex<Option<Result<Host, String>>> = Mutex::new(None);

/// Runs the case in `text` to its end.
pub(crate) fn run(stem: &str, text: &str, config: &Path) -> Result<()> {
    let word = fresh_word(stem);
    let case = Case::parse(&fill_in(text, &word, config)?)?;
    let mut own;
    let mut target = if case.needs_own_host() {
        own = Host::new(config)?;
        Target {
            online: Online {
                url: own.url()?,
                client: Client::new(),
            },
            host: Some(&mut own),
        }
    } else {
        Target {
            online: Online {
                url: shared(Host::url)?,
                client: Client::new(),
            },
            host: None,
        }
    };
    for (i, step) in case.steps.iter().enumerate() {
        if let Err(error) = target.step(step) {
            let log = match &target.host {
                Some(host) => host.log(),
                None => shared(|host| Ok(host.log()))?,
            };
            bail!("{}\nstep {i}: {error:#}\n{log}", case.name);
        }
    }
    match target.host {
        // What only a stop reveals (a database that cannot be checkpointed, a task that hangs) belongs to this case.
        Some(host) => host.stop().context("after the last step"),
        None => Ok(()),
    }
}

/// Does something with the host of all cases that leave it alone, which the first of them starts.
fn shared<T>(with: impl FnOnce(&mut Host) -> Result<T>) -> Result<T> {
    let mut host = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
    let host = host.get_or_insert_with(|| Host::new(&super::config()).map_err(|e| format!("{e:#}")));
    with(host.as_mut().map_err(|e| anyhow!("{e}"))?)
}

/// Statics are not dropped, so the shared host has to be taken out and stopped; that this succeeds is part of the test.
pub(crate) fn stop_shared() -> Result<()> {
    let host = SHARED.lock().unwrap_or_else(|broken| broken.into_inner()).take();
    match host {
        Some(Ok(mut host)) => host.stop().context("the shared host"),
        _ => Ok(()),
    }
}

struct Target<'a> {
    online: Online,
    /// Only where the case has one of its own.
    host: Option<&'a mut Host>,
}

/// A running host as its clients see it; threads share it.
struct Online {
    url: String,
    client: Client,
}

impl Target<'_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Restart | Step::Kill => {
                let host = self.host.as_deref_mut().expect("such a case has a host of its own");
                if matches!(step, Step::Kill) {
                    host.kill()?
                } else {
                    host.stop()?
                }
                self.online.url = host.url()?;
                Ok(())
            }
            Step::Files(files) => {
                let host = self.host.as_deref_mut().expect("such a case has a host of its own");
                host.stop()?;
                check_files(&host.data(), files)?;
                self.online.url = host.url()?;
                Ok(())
            }
            _ => self.online.step(step),
        }
    }
}

impl Online {
    /// The steps that need a running host and nothing else, which therefore can run side by side.
    fn step(&self, step: &Step) -> Result<()> {
        match step {
            Step::Parallel(steps) => thread::scope(|scope| {
                let running: Vec<_> = steps.iter().map(|step| scope.spawn(|| self.step(step))).collect();
                let results = running
                    .into_iter()
                    .map(|r| r.join().map_err(|_| anyhow!("the runner panicked")));
                let results: Vec<Result<()>> = results.map(Result::flatten).collect();
                results
                    .into_iter()
                    .enumerate()
                    .try_for_each(|(i, r)| r.with_context(|| format!("branch {i}")))
            }),
            Step::WaitMs(ms) => {
                thread::sleep(Duration::from_millis(*ms));
                Ok(())
            }
            Step::Run {
                on,
                ops,
                expect,
                within_ms,
            } => retry(*within_ms, || self.run(on, ops, expect)),
            Step::Method {
                on,
                method,
                args,
                expect,
                within_ms,
            } => retry(*within_ms, || self.method(on, method, args, expect)),
            Step::Http { request, within_ms } => retry(*within_ms, || self.http(request)),
            Step::Restart | Step::Kill | Step::Files(_) => {
                unreachable!("refused in `parallel` when the case was parsed")
            }
        }
    }

    fn run(&self, on: &str, ops: &Value, expect: &Expect) -> Result<()> {
        self.method(on, "run", &json!([ops]), expect)
    }

    fn method(&self, on: &str, method: &str, args: &Value, expect: &Expect) -> Result<()> {
        let answer = self.client.rpc(&self.url, on, method, args)?;
        let compared = match (expect, &answer) {
            (Expect::Results(wanted), Ok(Value::Array(got))) => compare::results(wanted, got),
            (Expect::Results(_), Ok(got)) => bail!("the puppet did not answer a list of results but {got}"),
            (Expect::Answer(wanted), Ok(got)) => compare::value("", wanted, got),
            (Expect::Results(_) | Expect::Answer(_), Err(failure)) => {
                bail!("the whole call to {on} failed: {}", failure.to_result())
            }
            (Expect::Fails(wanted), Err(failure)) => compare::value("", wanted, &failure.to_result()),
            (Expect::Fails(wanted), Ok(got)) => {
                bail!("{on} should have failed with {wanted}, but answered {}", short(got))
            }
        };
        compared.map_err(|found| {
            let answer = answer.unwrap_or_else(|failure| failure.to_result());
            anyhow!("{on}: {found}\n  whole answer: {}", short(&answer))
        })
    }

    fn http(&self, request: &Http) -> Result<()> {
        let url = format!("{}/o/{}{}", self.url, object_path(&request.on)?, request.path);
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| Some((name.as_str(), value.as_str()?)));
        let headers: Vec<_> = headers.collect::<Option<_>>().context("values of headers are text")?;
        let body = match &request.body {
            None => Vec::new(),
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(value) => {
                let text = value["$b64"].as_str().context("a body is text or {\"$b64\": ...}")?;
                base64::engine::general_purpose::STANDARD.decode(text)?
            }
        };
        let response = self.client.http(&request.method, &url, &headers, &body)?;
        let got = String::from_utf8_lossy(&response.body).into_owned();
        ensure!(
            response.status == request.status,
            "{url}: wanted {}, got {}: {got}",
            request.status,
            response.status
        );
        for (name, wanted) in &request.expect_headers {
            let got = response
                .headers
                .iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| value);
            compare::value(name, wanted, &json!(got)).map_err(|found| anyhow!("{url}: header {found}"))?;
        }
        let wanted = request.expect_body.as_ref();
        let compared = wanted.map_or(Ok(()), |wanted| compare::value("body", wanted, &json!(got)));
        compared.map_err(|found| anyhow!("{url}: {found}"))
    }
}

/// Once, or until it succeeds or the time is up; then the last error tells why not.
fn retry(within_ms: Option<u64>, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let Some(ms) = within_ms else { return attempt() };
    let end = Instant::now() + Duration::from_millis(ms);
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(error.context(format!("not within {ms} ms"))),
            Err(_) => thread::sleep(RETRY_PAUSE),
        }
    }
}

fn check_files(data: &Path, files: &Files) -> Result<()> {
    let (namespace, name) = files
        .object
        .split_once('/')
        .context("`object` is \"namespace/object\"")?;
    let id = identity::object_id(namespace, name);
    let directory = identity::home(data, namespace, &id);
    let mut found = Vec::new();
    match fs::read_dir(&directory) {
        // Where nothing was ever stored there need not be a directory.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        entries => {
            for entry in entries.with_context(|| format!("could not list {}", directory.display()))? {
                found.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
    }
    found.retain(|file| file.starts_with(&id) && !file.ends_with("-wal") && !file.ends_with("-shm"));
    found.sort();
    let there = |pattern: &String| found.contains(&pattern.replace("{id}", &id));
    let listed = || format!("files of {} ({id}): {found:#?}", files.object);
    for pattern in files.present.iter().flatten() {
        ensure!(there(pattern), "{pattern} is missing; {}", listed());
    }
    for pattern in files.absent.iter().flatten() {
        ensure!(!there(pattern), "{pattern} should not be there; {}", listed());
    }
    if let Some(wanted) = files.count {
        let databases = found.iter().filter(|file| file.ends_with(".sqlite")).count();
        ensure!(
            databases == wanted,
            "wanted {wanted} databases, found {databases}; {}",
            listed()
        );
    }
    Ok(())
}

/// A component in base64 in an answer would hide what matters.
fn short(value: &Value) -> String {
    const SHOWN_CHARS_MAX: usize = 4000;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
