//! Each method does one thing `n` times, so that what is measured outside is the thing and not the way in.

use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use facetd_sdk::alarms::{self, Alarm};
use facetd_sdk::children::Startup;
use facetd_sdk::{
    Answer, Error, Facet, Payload, Result, Stub, children, classes, clock, kv, log, no_such_method, sql, timers,
};

facetd_sdk::export!(Bench, alarm);

struct Bench;

impl Facet for Bench {
    async fn start() -> Result<Self> {
        Ok(Self)
    }

    async fn call(&self, method: &str, args: Payload, _: Vec<Stub>) -> Result<Answer> {
        if method == "echo" {
            return Ok(Answer {
                value: args,
                stubs: Vec::new(),
            });
        }
        if method == "alarm_at" {
            let [at_ms] = args.decode::<[u64; 1]>()?;
            alarms::set_at(at_ms)?;
            return Answer::json(&());
        }
        if method == "alarms" {
            let (n, from_ms, within_ms) = args.decode()?;
            set_alarms(n, from_ms, within_ms).await?;
            return Answer::json(&());
        }
        let (n, extra): (u32, u32) = args.decode()?;
        match method {
            "calls" => calls(n, extra as usize).await?,
            "cold" => cold(n, extra).await?,
            "gets" => gets(n)?,
            "puts" => puts(n, extra)?,
            "selects" => selects(n)?,
            "inserts" => inserts(n)?,
            "keep" => kv::put_bytes("k", &n.to_le_bytes())?,
            "wait" => timers::sleep(Duration::from_millis(n.into())).await,
            "grow" => grow(n, extra).await?,
            "grow_top" => child("top")?.call("grow", &(n, extra)).await?,
            "hold" => hold(n).await?,
            "hold_two" => hold_two(n).await?,
            "hold_top" => child("top")?.call("hold_two", &(n, extra)).await?,
            "abort_top" => children::abort("top", "measured")?,
            "delete_top" => children::delete("top")?,
            "churn" => churn(n).await?,
            "list" => list(n)?,
            "spin" => spin(n),
            "query" => endless_query()?,
            "touch" => child(&format!("{extra}-{}", n - 1))?.call("keep", &(n, extra)).await?,
            _ => {
                return Err(no_such_method(
                    method,
                    &[
                        "echo",
                        "calls",
                        "cold",
                        "gets",
                        "puts",
                        "selects",
                        "inserts",
                        "keep",
                        "wait",
                        "grow",
                        "grow_top",
                        "hold",
                        "hold_two",
                        "hold_top",
                        "abort_top",
                        "delete_top",
                        "churn",
                        "list",
                        "touch",
                    ],
                ));
            }
        }
        Answer::json(&())
    }

    /// Says how late it is.
    async fn alarm(&self, alarm: Alarm) -> Result<()> {
        log::info(format_args!(
            "late {}",
            clock::now_ms().saturating_sub(alarm.scheduled_ms)
        ));
        Ok(())
    }
}

/// `n` children with an alarm each, spread evenly over a time.
async fn set_alarms(n: u32, from_ms: u64, within_ms: u64) -> Result<()> {
    for i in 0..n {
        let at_ms = from_ms + u64::from(i) * within_ms / u64::from(n);
        let child = child(&format!("alarm-{i}"))?;
        child.call::<()>("alarm_at", &[at_ms]).await?;
    }
    Ok(())
}

fn child(name: &str) -> Result<Stub> {
    children::get(name, &Startup::new(&classes::own()?))
}

/// `n` calls to one child, one after the other, with `bytes` each way.
async fn calls(n: u32, bytes: usize) -> Result<()> {
    let child = child("echo")?;
    for _ in 0..n {
        let answer = child
            .call_raw("echo", Payload::bytes(vec![7; bytes]), Vec::new())
            .await?;
        if answer.value.body.len() != bytes {
            return Err(Error::msg("the echo is not what was sent"));
        }
    }
    Ok(())
}

/// `n` new facets of a known class: made, called once, stopped.
async fn cold(n: u32, salt: u32) -> Result<()> {
    for i in 0..n {
        let name = format!("{salt}-{i}");
        child(&name)?
            .call_raw("echo", Payload::bytes(vec![7; 16]), Vec::new())
            .await?;
        children::abort(&name, "measured")?;
    }
    Ok(())
}

/// `n` children with a key each, which run from then on.
async fn grow(n: u32, salt: u32) -> Result<()> {
    for i in 0..n {
        child(&format!("{salt}-{i}"))?.call::<()>("keep", &(i, salt)).await?;
    }
    Ok(())
}

/// Milliseconds that nobody waits for.
const FOR_EVER_MS: u32 = 600_000;

/// Calls `n` children that do not answer, all at a time.
async fn hold(n: u32) -> Result<()> {
    let children: Vec<_> = (0..n).map(|i| i.to_string()).collect();
    call_all(&children, "wait", FOR_EVER_MS).await
}

/// Two children that call `n` each: one facet cannot hold so many stubs.
async fn hold_two(n: u32) -> Result<()> {
    call_all(&["left".to_owned(), "right".to_owned()], "hold", n).await
}

/// Ends when the first of them does.
async fn call_all(names: &[String], method: &str, n: u32) -> Result<()> {
    let stubs = names.iter().map(|name| child(name)).collect::<Result<Vec<_>>>()?;
    let args = (n, 0);
    let mut calls: Vec<_> = stubs
        .iter()
        .map(|stub| Box::pin(stub.call::<()>(method, &args)))
        .collect();
    poll_fn(|cx| {
        let ended = calls.iter_mut().find_map(|call| match call.as_mut().poll(cx) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        });
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// A child that stores something and is deleted, `n` times.
async fn churn(n: u32) -> Result<()> {
    for i in 0..n {
        child("churned")?.call::<()>("keep", &(i, 0)).await?;
        children::delete("churned")?;
    }
    Ok(())
}

/// Names a page may hold.
const PAGE: u32 = 1_000;

/// Pages through all children; there must be `n`.
fn list(n: u32) -> Result<()> {
    let (mut many, mut last) = (0, None);
    loop {
        let names = children::names(last.as_deref(), PAGE);
        many += names.len();
        match names.into_iter().last() {
            Some(name) => last = Some(name),
            None => break,
        }
    }
    match many == n as usize {
        true => Ok(()),
        false => Err(Error::msg(format!("{many} children"))),
    }
}

fn gets(n: u32) -> Result<()> {
    kv::put_bytes("k", &[7; 16])?;
    for _ in 0..n {
        kv::get_bytes("k")?;
    }
    Ok(())
}

/// What stays the same would not be written.
fn puts(n: u32, salt: u32) -> Result<()> {
    for i in 0..n {
        kv::put_bytes("k", &i.wrapping_add(salt).to_le_bytes())?;
    }
    Ok(())
}

fn selects(n: u32) -> Result<()> {
    sql::query("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)", &[])?;
    sql::query("INSERT OR REPLACE INTO t VALUES (1, 2)", &[])?;
    for _ in 0..n {
        sql::query("SELECT v FROM t WHERE id = ?", facetd_sdk::params![1])?;
    }
    Ok(())
}

fn inserts(n: u32) -> Result<()> {
    sql::query("CREATE TABLE IF NOT EXISTS u(id INTEGER PRIMARY KEY, v)", &[])?;
    for i in 0..n {
        sql::query("INSERT INTO u(v) VALUES (?)", facetd_sdk::params![i])?;
    }
    sql::query("DELETE FROM u", &[])?;
    Ok(())
}

/// Computes for so many milliseconds.
fn spin(ms: u32) {
    let begun = clock::now_ms();
    let mut state = 1_u64;
    while clock::now_ms() - begun < u64::from(ms) {
        for _ in 0..10_000 {
            state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

/// One statement that never ends by itself.
fn endless_query() -> Result<()> {
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    sql::query_value::<i64>(endless, &[]).map(|_| ())
}
