//! What is reached, and what comes back.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::{Bench, Test, run};

pub(crate) const TESTS: &[Test] = &[
    ("a-request-arrives-and-its-response-comes-back", arrives),
    ("what-is-not-listed-is-not-reached", not_listed),
    ("an-address-that-is-not-public-is-refused-by-default", not_public),
    ("a-redirect-is-not-followed", redirect),
    ("a-response-that-is-too-large-breaks-off", large),
    ("a-response-that-breaks-off-is-seen-to", half),
    ("a-body-is-sent-while-it-is-written", streamed),
    ("a-body-that-its-writer-drops-is-not-whole", dropped),
    ("a-server-has-to-show-who-it-is", tls),
    ("a-facet-has-so-many-requests-under-way", many),
    ("a-facet-in-blocking-code-asks-as-well", blocking),
    ("what-the-parent-adds-the-child-does-not-see", injected),
];

fn get(url: &str) -> Value {
    json!({"op": "egress.get", "url": url})
}

/// An error of this kind and code, of a request that was not sent.
fn is_error(result: &Value, kind: &str, code: &str) -> bool {
    let error = &result["err"];
    error["kind"] == kind && error["code"] == code && error["outcome"] == "not-applied"
}

fn arrives(bench: &Bench, case: &str) -> Result<()> {
    let headers = json!({"X-Mine": "1", "Host": "evil.test", "Connection": "upgrade", "Content-Length": "99"});
    let ops = json!([{
        "op": "egress.fetch", "method": "PUT", "url": bench.at(case, "x?y=1"), "headers": headers, "body": "caf\u{e9}",
    }]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    let expected = json!({"status": 200, "headers": {"content-length": "5", "x-served": "yes"}, "body": "hello"});
    ensure!(results == [json!({ "ok": expected })], "{results:?}");
    let asked = bench.listed.asked(case);
    let [asked] = &asked[..] else {
        anyhow::bail!("asked {asked:?}")
    };
    ensure!(asked.body == "caf\u{e9}" && asked.head.starts_with(&format!("PUT /{case}/x?y=1 HTTP/1.1\r\n")));
    let host = format!("\r\nhost: 127.0.0.1:{}\r\n", bench.listed.port);
    for line in [
        host.as_str(),
        "\r\nx-mine: 1\r\n",
        "\r\ncontent-length: 5\r\n",
        "\r\nconnection: close\r\n",
    ] {
        ensure!(asked.head.contains(line), "{line:?} is not in {:?}", asked.head);
    }
    ensure!(
        !asked.head.contains("evil") && !asked.head.contains("99"),
        "{:?}",
        asked.head
    );
    Ok(())
}

fn not_listed(bench: &Bench, case: &str) -> Result<()> {
    let other = format!("http://127.0.0.1:{}/{case}/x", bench.other.port);
    let results = run(&bench.url, &format!("n/{case}"), &json!([get(&other)]))?;
    ensure!(is_error(&results[0], "denied", "egress"), "{results:?}");
    ensure!(
        results[0]["err"]["message"].to_string().contains("127.0.0.1"),
        "{results:?}"
    );
    ensure!(bench.other.asked(case).is_empty());
    Ok(())
}

fn not_public(bench: &Bench, case: &str) -> Result<()> {
    let named = format!("http://localhost:{}/{case}/named", bench.listed.port);
    let ops = json!([get(&bench.at(case, "x")), get(&named)]);
    let results = run(&bench.url, &format!("careful/{case}"), &ops)?;
    for result in &results {
        ensure!(is_error(result, "denied", "egress"), "{results:?}");
        ensure!(
            result["err"]["message"].to_string().contains("allow_private"),
            "{results:?}"
        );
    }
    ensure!(bench.listed.asked(case).is_empty());
    // Where its range is listed the same name is reached.
    let results = run(&bench.url, &format!("n/{case}"), &json!([get(&named)]))?;
    ensure!(results[0]["ok"]["body"] == "hello", "{results:?}");
    Ok(())
}

fn redirect(bench: &Bench, case: &str) -> Result<()> {
    let ops = json!([{"op": "egress.fetch", "url": bench.at(case, "redirect")}]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    let to = &results[0]["ok"]["headers"]["location"];
    ensure!(results[0]["ok"]["status"] == 302 && to.is_string(), "{results:?}");
    let results = run(
        &bench.url,
        &format!("n/{case}"),
        &json!([get(to.as_str().unwrap_or_default())]),
    )?;
    ensure!(is_error(&results[0], "denied", "egress"), "{results:?}");
    ensure!(bench.other.asked("redirect").is_empty());
    Ok(())
}

fn large(bench: &Bench, case: &str) -> Result<()> {
    let ops = json!([
        {"op": "egress.fetch", "url": bench.at(case, "large"), "read": "count"},
        {"op": "echo", "value": "alive"},
    ]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    ensure!(
        results[0]["err"]["kind"] == "unavailable" && results[0]["err"]["code"] == "body",
        "{results:?}"
    );
    ensure!(results[1]["ok"] == "alive", "{results:?}");
    Ok(())
}

fn half(bench: &Bench, case: &str) -> Result<()> {
    let results = run(&bench.url, &format!("n/{case}"), &json!([get(&bench.at(case, "half"))]))?;
    ensure!(
        results[0]["err"]["kind"] == "unavailable" && results[0]["err"]["code"] == "body",
        "{results:?}"
    );
    Ok(())
}

fn streamed(bench: &Bench, case: &str) -> Result<()> {
    let pieces: Vec<String> = (0..200).map(|i| format!("<{i}>")).collect();
    let ops = json!([{"op": "egress.fetch", "method": "POST", "url": bench.at(case, "x"), "pieces": pieces}]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    ensure!(results[0]["ok"]["status"] == 200, "{results:?}");
    ensure!(bench.listed.asked(case)[0].body == pieces.concat());
    Ok(())
}

fn dropped(bench: &Bench, case: &str) -> Result<()> {
    let ops = json!([{"op": "egress.fetch", "method": "POST", "url": bench.at(case, "x"), "pieces": ["half", null]}]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    ensure!(
        results[0]["err"]["kind"] == "unavailable" && results[0]["err"]["code"] == "body",
        "{results:?}"
    );
    let path = format!("/{case}/x");
    // If the head left at all, the server can tell that the rest does not come.
    if bench.listed.asked(case).is_empty() {
        return Ok(());
    }
    bench.listed.wait_for(&path, |asked| asked.gone).map(drop)
}

fn tls(bench: &Bench, case: &str) -> Result<()> {
    let at = |name: &str, port: u16| format!("https://{name}:{port}/{case}/x");
    let ops = json!([
        get(&at("localhost", bench.tls.port)),
        get(&at("127.0.0.1", bench.tls.port)),
        get(&at("localhost", bench.strange_tls.port)),
    ]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    ensure!(results[0]["ok"]["body"] == "hello", "{results:?}");
    for (result, what) in results[1..].iter().zip(["another's name", "an unknown authority"]) {
        ensure!(is_error(result, "unavailable", "tls"), "{what}: {result}");
    }
    ensure!(bench.tls.asked(case).len() == 1 && bench.strange_tls.asked(case).is_empty());
    Ok(())
}

fn many(bench: &Bench, case: &str) -> Result<()> {
    let start = json!({"op": "egress.start", "url": bench.at(case, "slow")});
    let mut ops = vec![start; 32];
    ops.extend([json!({"op": "sleep", "ms": 0}), get(&bench.at(case, "x"))]);
    let results = run(&bench.url, &format!("n/{case}"), &ops.into())?;
    ensure!(is_error(&results[33], "limit", "requests"), "{results:?}");
    // Another facet has its own.
    let results = run(&bench.url, &format!("n/{case}-2"), &json!([get(&bench.at(case, "x"))]))?;
    ensure!(results[0]["ok"]["status"] == 200, "{results:?}");
    Ok(())
}

fn injected(bench: &Bench, case: &str) -> Result<()> {
    let secret = "Bearer of-the-parent";
    let ops = json!([
        {"op": "outbound.program", "act": "pass", "headers": {"authorization": secret}},
        {"op": "facet.get", "name": "kid", "class": "net", "as": "kid", "grants": {"egress": {"via": "parent"}}},
        {"op": "call", "stub": "kid", "ops": [
            {"op": "egress.fetch", "url": bench.at(case, "x"), "headers": {"x-mine": "1"}},
        ]},
    ]);
    let results = run(&bench.url, &format!("n/{case}"), &ops)?;
    ensure!(results[2]["ok"][0]["ok"]["body"] == "hello", "{results:?}");
    ensure!(!results[2].to_string().contains(secret), "{results:?}");
    let head = &bench.listed.asked(case)[0].head;
    ensure!(
        head.contains(&format!("authorization: {secret}")) && head.contains("x-mine: 1"),
        "{head}"
    );
    Ok(())
}

/// The same host, by the twins of the interfaces: a facet in C, and its child.
fn blocking(bench: &Bench, case: &str) -> Result<()> {
    let on = format!("asker/{case}");
    let ask = |method: &str, url: &str| Client::new().rpc(&bench.url, &on, method, &json!([url]));
    let answer = ask("get", &bench.at(case, "x"))?;
    ensure!(matches!(&answer, Ok(text) if text == "hello"), "{answer:?}");
    let refused = ask("get", &format!("http://127.0.0.1:{}/{case}/x", bench.other.port))?;
    ensure!(
        matches!(&refused, Err(failure) if failure.code == "denied"),
        "{refused:?}"
    );
    // While it waits for its child it takes no event, so none of the child's requests.
    let held = ask("child-get", &bench.at(case, "held"))?;
    ensure!(
        matches!(&held, Err(failure) if failure.message.contains("would never return")),
        "{held:?}"
    );
    let begun = ask("child-start", &bench.at(case, "kid"))?;
    ensure!(begun.is_ok(), "{begun:?}");
    let asked = bench.listed.wait_for(&format!("/{case}/kid"), |_| true)?;
    ensure!(asked.head.contains("x-asked-by: kid"), "{}", asked.head);
    let paths: Vec<_> = bench.listed.asked(case).into_iter().map(|asked| asked.path).collect();
    ensure!(paths == ["x", "kid"].map(|what| format!("/{case}/{what}")), "{paths:?}");
    Ok(())
}
