//! Two who have nothing to do with any attack, and are served all the time: a tenant in a namespace of its own, who writes,
//! and an object in the attacker's namespace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;

const CALM: &str = "calm/garden";
const NEIGHBOUR: &str = "evil/neighbour";
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);
/// Every so many requests one goes to the neighbour.
const NEIGHBOUR_EVERY: u64 = 8;
/// What the row of the tenant says, and must always say.
const TREASURE: &str = "the gold is under the pear tree";

/// Since the last attack began.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) answers: u64,
    pub(crate) slowest: Duration,
    wrong: Option<String>,
}

impl Seen {
    pub(crate) fn check(&self, limit: Duration) -> Result<()> {
        if let Some(wrong) = &self.wrong {
            bail!("somebody else: {wrong}");
        }
        ensure!(self.answers > 0, "nobody else was answered at all");
        ensure!(
            self.slowest < limit,
            "somebody else waited {:?} for an answer, more than {limit:?}",
            self.slowest
        );
        Ok(())
    }
}

pub(crate) struct Control {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    pub(crate) fn start(url: &str) -> Result<Self> {
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut tenant = Tenant {
            client: Client::new(),
            url: url.to_owned(),
            written: 0,
        };
        tenant.settle_in()?;
        let thread = thread::spawn({
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            move || tenant.live(&seen, &stop)
        });
        Ok(Self {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    pub(crate) fn begin(&self) {
        *self.lock() = Seen::default();
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Waits until so many more have come.
    pub(crate) fn wait_for_answers(&self, more: u64, limit: Duration) -> Result<()> {
        let (begun, before) = (Instant::now(), self.lock().answers);
        while self.lock().answers < before + more && self.lock().wrong.is_none() {
            ensure!(begun.elapsed() < limit, "nobody else was answered within {limit:?}");
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the control tenant panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Tenant {
    client: Client,
    url: String,
    /// How often it has written, as it was told.
    written: u64,
}

impl Tenant {
    fn run(&self, ops: &Value) -> Result<Vec<Value>> {
        let answer = self.client.run(&self.url, CALM, ops)?;
        answer.map_err(|failure| anyhow!("{CALM}: {failure:?}"))
    }

    fn settle_in(&mut self) -> Result<()> {
        self.run(&json!([
            {"op": "sql", "q": "CREATE TABLE t(id INTEGER PRIMARY KEY, treasure TEXT, written INTEGER)", "params": []},
            {"op": "sql", "q": "INSERT INTO t VALUES (1, ?, 0)", "params": [TREASURE]},
        ]))?;
        self.check_neighbour()?;
        self.check_row(false)
    }

    /// Reads the row, or writes it and reads what that made of it.
    fn check_row(&mut self, write: bool) -> Result<()> {
        let statement = match write {
            true => "UPDATE t SET written = written + 1 RETURNING treasure, written",
            false => "SELECT treasure, written FROM t",
        };
        let mut results = self.run(&json!([{"op": "sql", "q": statement, "params": []}]))?;
        let result = results.pop().context("no result")?;
        self.written += u64::from(write);
        let rows = &result["ok"]["rows"];
        ensure!(
            *rows == json!([[TREASURE, self.written]]),
            "{CALM}: after {} writes the row is {result}",
            self.written
        );
        Ok(())
    }

    fn check_neighbour(&self) -> Result<()> {
        let answer = self.client.rpc(&self.url, NEIGHBOUR, "ping", &json!([]))?;
        // It shares what its namespace may have with the attacker, and must be told so if that is the matter.
        let shared = answer
            .as_ref()
            .is_err_and(|failure| failure.message.contains("its namespace has"));
        ensure!(
            shared || answer.as_ref().is_ok_and(|pong| pong == "pong"),
            "{NEIGHBOUR}: {answer:?}"
        );
        Ok(())
    }

    fn live(&mut self, seen: &Mutex<Seen>, stop: &AtomicBool) {
        for n in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let begun = Instant::now();
            let answer = match n % NEIGHBOUR_EVERY {
                0 => self.check_neighbour(),
                n => self.check_row(n % 2 == 0),
            };
            let took = begun.elapsed();
            {
                let mut seen = seen.lock().unwrap_or_else(|broken| broken.into_inner());
                seen.answers += 1;
                seen.slowest = seen.slowest.max(took);
                if let Err(error) = answer {
                    seen.wrong.get_or_insert(format!("{error:#}"));
                }
            }
            thread::sleep(PAUSE);
        }
    }
}
