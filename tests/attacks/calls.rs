//! Calls in circles, in chains and in storms.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object, told_as_answer};
use crate::support::client::Failure;

pub(crate) fn all() -> Vec<Attack> {
    // Its events interleave: it answers itself while it waits.
    let pong = || Must::Answer(json!("pong"));
    let mut all = vec![
        told("itself", json!({"do": "myself", "through": 0}), pong()),
        told("itself-through-a-child", json!({"do": "myself", "through": 1}), pong()),
        told(
            "itself-through-ten-children",
            json!({"do": "myself", "through": 10}),
            pong(),
        ),
        Attack::deed(
            "chain-down-the-tree",
            json!({"do": "chain", "n": 15}),
            Must::Answer(json!(15)),
        ),
        Attack::deed(
            "chain-too-deep",
            json!({"do": "chain", "n": 100}),
            Must::refused("limit", ""),
        ),
        Attack::new("five-hundred-in-flight", |arena| {
            flooded(
                arena,
                "five-hundred",
                500,
                &json!({"do": "answer", "bytes": 1}),
                "mailbox",
            )
        }),
        Attack::new("five-hundred-that-sleep", |arena| {
            let deed = json!({"do": "flood", "n": 500, "deed": {"do": "sleep", "ms": 3_600_000}});
            let answer = arena.villain(&object("five-hundred-that-sleep"), &deed)?;
            Must::broken_later("wall").check(answer)
        }),
        Attack::new("large-answers-in-flight", |arena| {
            let deed = json!({"do": "flood", "n": 60, "deed": {"do": "answer", "bytes": 4 << 20}});
            let answer = arena.villain(&object("large-answers"), &deed)?;
            ensure!(
                answer.is_ok() || answer.as_ref().is_err_and(|failure| failure.kind == "broken"),
                "{answer:?}"
            );
            Ok(())
        }),
        Attack::new("storm-between-siblings", |arena| {
            let answer = arena.villain(&object("storm"), &json!({"do": "storm", "n": 30}))?;
            ensure!(answer.is_ok() || answer.as_ref().is_err_and(ended), "{answer:?}");
            Ok(())
        }),
        Attack::new("two-hundred-clients", two_hundred_clients),
    ];
    for (how, kind) in [("abort", "aborted"), ("delete", "deleted"), ("restart", "restarted")] {
        let name = format!("stale-stub-after-{how}");
        let on = object(&name);
        all.push(Attack::new(&name, move |arena| {
            let answer = arena.villain(&on, &json!({"do": "stale", "how": how}))?;
            let told = answer.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
            Must::Fail(kind, "", "not-applied").check(told_as_answer(told[0].clone())?)?;
            ensure!(told[1] == "pong", "the one that came after: {told}");
            Ok(())
        }));
    }
    all
}

fn told(name: &str, deed: Value, must: Must) -> Attack {
    let on = object(name);
    Attack::new(name, move |arena| {
        let told = arena.villain(&on, &deed)?;
        must.check(told_as_answer(told.map_err(|failure| anyhow::anyhow!("{failure:?}"))?)?)
    })
}

fn ended(failure: &Failure) -> bool {
    failure.kind == "broken" && ["cpu", "wall", "memory"].contains(&failure.code.as_str())
        || failure.kind == "failed" && ["limit", "broken", "deadline"].contains(&failure.code.as_str())
}

/// Some are answered, the others refused at once.
fn flooded(arena: &Arena, name: &str, n: u64, deed: &Value, code: &str) -> Result<()> {
    let told = arena.villain(&object(name), &json!({"do": "flood", "n": n, "deed": deed}))?;
    let told = told.map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let (answered, refused) = (told["answered"].as_u64(), told["refused"].as_u64());
    ensure!(
        answered.is_some_and(|answered| answered > 0) && answered.zip(refused).is_some_and(|(a, r)| a + r == n),
        "{told}"
    );
    ensure!(refused == Some(0) || told["first"] == json!(["limit", code]), "{told}");
    Ok(())
}

/// At one object, from outside: the mailbox is bounded, and who finds it full is told so.
fn two_hundred_clients(arena: &Arena) -> Result<()> {
    let on = object("two-hundred-clients");
    let answers = arena.at_once(200, |_| arena.villain(&on, &json!({"do": "sleep", "ms": 300})))?;
    let mut answered = 0;
    for answer in answers {
        match answer {
            Ok(_) => answered += 1,
            Err(failure) => ensure!(failure.kind == "limit" && failure.code == "mailbox", "{failure:?}"),
        }
    }
    ensure!(answered >= 64, "only {answered} were answered");
    Ok(())
}
