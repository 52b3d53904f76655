//! The host that is attacked. It is unhurt if, all the time, those who have nothing to do with the attack were answered
//! rightly and soon, and if in the end it has no more memory, threads and descriptors than before.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::attack::Attack;
use crate::control::Control;
use crate::support::client::{Client, Failure};
use crate::support::host::Host;
use crate::vitals::Vitals;

/// For a single answer to somebody else. The machine may have other things to do, too.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long the host may take to be as it was.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// The same for memory, which is looked at more closely then.
const MEMORY_LIMIT: Duration = Duration::from_secs(4);
/// What the host may keep, if it does not grow.
const KEPT_MAX_KIB: u64 = 32 << 10;
/// What is no growth, over so many times.
const GROWTH_MAX_KIB: u64 = 8 << 10;
const REPEATS: u32 = 3;
const SETTLE_POLL: Duration = Duration::from_millis(50);

pub(crate) fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/attacks/facetd.toml")
}

pub(crate) struct Arena {
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) control: Control,
    host: Mutex<Host>,
    process: u32,
    /// After somebody has done every harmless thing once.
    calm: Vitals,
}

static ARENA: Mutex<Option<Arena>> = Mutex::new(None);

/// Runs the attack, and looks after the host.
pub(crate) fn face(name: &str, attack: Attack) -> Result<()> {
    let mut arena = ARENA.lock().unwrap_or_else(|broken| broken.into_inner());
    if arena.is_none() {
        *arena = Some(Arena::new()?);
    }
    let here = arena.as_mut().context("just made")?;
    if attack.on_own_host {
        return (attack.run)(here);
    }
    let (done, unhurt) = here.face(name, &attack);
    if unhurt.is_err() {
        // The next one meets a host that is well.
        *arena = None;
    }
    done.and(unhurt)
}

/// Stops the host, which must still be able to.
pub(crate) fn close() -> Result<()> {
    let arena = ARENA.lock().unwrap_or_else(|broken| broken.into_inner()).take();
    let Some(Arena { control, host, .. }) = arena else {
        return Ok(());
    };
    control.end()?;
    host.into_inner().unwrap_or_else(|broken| broken.into_inner()).stop()
}

impl Arena {
    fn new() -> Result<Self> {
        let mut host = Host::in_memory(&config())?;
        // With one arena what the allocator keeps does not depend on who asked for it, so what is lost can be told from it.
        host.set_env("MALLOC_ARENA_MAX", "1");
        let (url, client) = (host.url()?, Client::new());
        let process = host.process_id().context("it has just been started")?;
        let control = Control::start(&url)?;
        let arena = Self {
            calm: Vitals::of(process)?,
            url,
            client,
            control,
            host: Mutex::new(host),
            process,
        };
        // Classes are compiled, pools filled.
        for n in 0..20 {
            let answer = arena.villain(&format!("evil/warm-{n}"), &json!({"do": "names", "n": 4}))?;
            ensure!(answer.as_ref().is_ok_and(|value| *value == 4), "warming up: {answer:?}");
        }
        thread::sleep(Duration::from_secs(1));
        Ok(Self {
            calm: Vitals::of(process)?,
            ..arena
        })
    }

    pub(crate) fn rpc(&self, on: &str, method: &str, args: &Value) -> Result<Result<Value, Failure>> {
        self.client.rpc(&self.url, on, method, args)
    }

    pub(crate) fn villain(&self, on: &str, deed: &Value) -> Result<Result<Value, Failure>> {
        self.rpc(on, "do", &json!([deed]))
    }

    /// So many clients at a time.
    pub(crate) fn at_once<T: Send>(&self, n: u32, each: impl Fn(u32) -> Result<T> + Sync) -> Result<Vec<T>> {
        let each = &each;
        thread::scope(|scope| {
            let clients: Vec<_> = (0..n).map(|n| scope.spawn(move || each(n))).collect();
            let joined = clients
                .into_iter()
                .map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
            joined.collect()
        })
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    pub(crate) fn log(&self) -> String {
        self.host().whole_log()
    }

    /// What came of the attack, and whether the host is unhurt.
    fn face(&mut self, name: &str, attack: &Attack) -> (Result<()>, Result<()>) {
        self.control.begin();
        let begun = Instant::now();
        let done = (attack.run)(self);
        let took = begun.elapsed();
        let settled = self.settle(attack);
        let control = self.control.seen();
        let after = Vitals::of(self.process);
        eprintln!(
            "{name}: {} ms; others: {} answers, the slowest after {} ms; {} -> {}",
            took.as_millis(),
            control.answers,
            control.slowest.as_millis(),
            self.calm,
            after.as_ref().map_or("gone".to_owned(), Vitals::to_string),
        );
        let unhurt = control.check(ANSWER_LIMIT).and(settled);
        let ended = self.host().has_ended();
        let unhurt = match ended {
            Some(status) => unhurt.and(Err(anyhow!("the host has ended: {status}"))),
            None => unhurt,
        };
        (done, unhurt.with_context(|| format!("{} {ended:?}", self.host().log())))
    }

    /// Waits until it is as before. Memory that it keeps may be the allocator's, or a class that might be run again: then the
    /// same attack has it keep no more of it each time. What is lost for ever grows.
    fn settle(&mut self, attack: &Attack) -> Result<()> {
        let too_much = self.wait_until_calm()?;
        if let Some((now, what)) = too_much {
            ensure!(
                what == "memory" && !now.is_above(&self.calm, KEPT_MAX_KIB),
                "{SETTLE_LIMIT:?} later the host has too much: {what}; {} -> {now}",
                self.calm
            );
            // Each may fail in its own way now, as the first did or did not.
            let _ = (attack.run)(self);
            self.wait_until_calm()?;
            let second = Vitals::of(self.process)?;
            for _ in 0..REPEATS {
                let _ = (attack.run)(self);
            }
            self.wait_until_calm()?;
            let last = Vitals::of(self.process)?;
            ensure!(
                !last.is_above(&second, GROWTH_MAX_KIB),
                "each time the host keeps more: {now}, then {second}, after {REPEATS} more {last}"
            );
            eprintln!(
                "{}: the host keeps some memory, and no more when it is repeated: {now}, {second}, {last}",
                attack.name
            );
            self.calm = last;
        }
        self.control.wait_for_answers(2, SETTLE_LIMIT)
    }

    /// What there still is too much of in the end.
    fn wait_until_calm(&self) -> Result<Option<(Vitals, &'static str)>> {
        let begun = Instant::now();
        loop {
            let now = Vitals::of(self.process)?;
            let Some(what) = now.too_much(&self.calm) else {
                return Ok(None);
            };
            // Memory goes with its facets, threads when nobody needs them.
            let limit = if what == "memory" { MEMORY_LIMIT } else { SETTLE_LIMIT };
            if begun.elapsed() > limit {
                return Ok(Some((now, what)));
            }
            thread::sleep(SETTLE_POLL);
        }
    }
}
