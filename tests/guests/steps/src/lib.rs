//! The twin of `steps.c` with async exports and imports: the same steps, so that one test can be run on both flavours.
//! What the steps are is said there.

use std::time::Duration;

use facetd_sdk::prelude::*;
use facetd_sdk::{Answer, Pending, no_such_method};

facetd_sdk::export!(Steps, alarm);

struct Steps;

impl Facet for Steps {
    async fn start() -> Result<Self> {
        Ok(Steps)
    }

    async fn call(&self, method: &str, args: Payload, stubs: Vec<Stub>) -> Result<Answer> {
        if method != "run" {
            return Err(no_such_method(method, &["run"]));
        }
        let [steps] = args.decode::<[String; 1]>()?;
        Answer::json(&run(&steps, stubs.first()).await?)
    }

    async fn alarm(&self, _: Alarm) -> Result<()> {
        if let Some(steps) = kv::get_text("alarm")? {
            run(&spelled(&steps), None).await?;
        }
        Ok(())
    }
}

/// Answers what the last `get` found.
async fn run(steps: &str, along: Option<&Stub>) -> Result<Option<String>> {
    let (mut found, mut within) = (None, None);
    for step in steps.split(';') {
        let words: Vec<&str> = step.split(' ').filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["put", key, value] => kv::put_text(key, value)?,
            ["get", key] => found = kv::get_text(key)?,
            ["spin", ms] => spin(Duration::from_millis(ms.parse().map_err(Error::msg)?)),
            ["begin"] => std::mem::forget(storage::begin()?),
            ["sleep", ms] => timers::sleep(Duration::from_millis(ms.parse().map_err(Error::msg)?)).await,
            ["within", ms] => within = Some(Duration::from_millis(ms.parse().map_err(Error::msg)?)),
            ["sync"] => storage::sync().await?,
            ["call", namespace, name, method, arg] => {
                send(object(namespace, name, along)?, within, method, arg, Vec::new())?.await?;
            }
            ["start", namespace, name, method, arg] => {
                drop(send(object(namespace, name, along)?, within, method, arg, Vec::new())?)
            }
            ["child-call", name, method, arg] => {
                send(child(name)?, within, method, arg, bell())?.await?;
            }
            ["child-start", name, method, arg] => drop(send(child(name)?, within, method, arg, bell())?),
            ["alarm", ms] => alarms::set_in(Duration::from_millis(ms.parse().map_err(Error::msg)?))?,
            ["trap"] => core::arch::wasm32::unreachable(),
            _ => fail!("no-such-step", "{step:?}: see steps.c"),
        }
    }
    Ok(found)
}

fn spin(time: Duration) {
    let end = clock::monotonic() + time;
    while clock::monotonic() < end {
        for i in 0..1000 {
            std::hint::black_box(i);
        }
    }
}

fn object(namespace: &str, name: &str, along: Option<&Stub>) -> Result<Stub> {
    match along {
        Some(along) => Ok(along.dup()),
        None => objects::by_name(namespace, name),
    }
}

fn child(name: &str) -> Result<Stub> {
    children::get(name, &Startup::new(&classes::own()?))
}

fn bell() -> Vec<Stub> {
    objects::by_name("bell", "b").into_iter().collect()
}

/// A word with what `_` and `,` stand for.
fn spelled(arg: &str) -> String {
    arg.replace('_', " ").replace(',', ";")
}

/// Made now; it leaves when the turn ends, whether or not anybody waits for the answer.
fn send(to: Stub, within: Option<Duration>, method: &str, arg: &str, stubs: Vec<Stub>) -> Result<Pending> {
    let to = within.map_or(to.clone(), |within| to.with_timeout(within));
    Ok(to.start(method, Payload::json(&[spelled(arg)])?, stubs))
}
