//! Names and paths that mean something else than they say, and the objects of others.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::arena::Arena;
use crate::attack::{Attack, Must, object};
use crate::support::identity::object_id;
use crate::support::wire::Wire;

/// A tenant's own object, whose content nobody else may see.
const GARDEN: &str = "garden";

pub(crate) fn all() -> Vec<Attack> {
    let mut all = Vec::new();
    // Raw paths, and the statuses that are right. Nothing that such a path reaches is anybody's.
    // A namespace that is not there looks like one whose token is not shown.
    let paths: [(&str, &str, &[u16]); 24] = [
        ("dot-dot", "/rpc/calm/../evil/x/ping", &[400, 404]),
        ("dot-dot-encoded", "/rpc/evil/%2e%2e/ping", &[200, 400, 404]),
        (
            "dot-dot-slash-encoded",
            "/rpc/evil/..%2f..%2fcalm%2fgarden/ping",
            &[200, 400],
        ),
        ("slash-encoded", "/rpc/evil/%2fetc%2fpasswd/ping", &[200, 400]),
        ("slash-in-the-namespace", "/rpc/evil%2fx/y/ping", &[401]),
        ("nul", "/rpc/evil/%00/ping", &[200, 400]),
        ("nul-in-the-namespace", "/rpc/calm%00evil/x/ping", &[401]),
        ("overlong-utf8", "/rpc/evil/%c0%af%c0%ae/ping", &[400]),
        ("half-a-surrogate", "/rpc/evil/%ed%a0%80/ping", &[400]),
        ("no-utf8", "/rpc/evil/%ff%fe/ping", &[400]),
        ("half-an-escape", "/rpc/evil/%e/ping", &[200, 400]),
        ("escape-of-an-escape", "/rpc/evil/%252e%252e%252f/ping", &[200, 400]),
        ("case-of-the-namespace", "/rpc/CALM/garden/run", &[401]),
        ("case-of-the-door", "/RPC/calm/garden/run", &[404]),
        ("space-in-the-namespace", "/rpc/calm%20/garden/run", &[401]),
        ("full-width-namespace", "/rpc/%ef%bd%83alm/garden/run", &[401]),
        ("no-object", "/rpc/evil//ping", &[400, 404]),
        ("no-namespace", "/rpc//x/ping", &[400, 404]),
        ("backslashes", "/rpc/evil/..%5c..%5c/ping", &[200, 400]),
        ("absolute", "//calm/garden/run", &[400, 404]),
        ("id-too-short", "/rpc/evil/id:00/ping", &[400, 404]),
        (
            "id-of-nobody",
            "/rpc/evil/id:0000000000000000000000000000000000000000000000000000000000000000/ping",
            &[400, 404],
        ),
        ("id-in-capitals", "/rpc/evil/ID:00/ping", &[200, 400, 404]),
        ("file-of-the-host", "/rpc/evil/..%2f..%2fcache%2fkey/ping", &[200, 400]),
    ];
    for (name, path, statuses) in paths {
        all.push(Attack::new(name, move |arena| {
            let response = Wire::tcp(&arena.url)?.request("POST", path, &[], b"[]")?;
            ensure!(
                statuses.contains(&response.status),
                "{path}: expected {statuses:?}, not {}: {:?}",
                response.status,
                String::from_utf8_lossy(&response.body)
            );
            ensure!(
                !contains_treasure(&response.body),
                "{path} shows what is somebody else's"
            );
            Ok(())
        }));
    }
    all.extend([
        Attack::new("long-name", |arena| {
            let path = format!("/rpc/evil/{}/ping", "n".repeat(5_000));
            let response = Wire::tcp(&arena.url)?.request("POST", &path, &[], b"[]")?;
            ensure!(response.status == 400, "{}", response.status);
            Ok(())
        }),
        Attack::new("id-of-another-namespace", id_of_another_namespace),
        Attack::new("id-of-another-namespace-from-inside", |arena| {
            let id = format!("id:{}", object_id("calm", GARDEN));
            let deed = json!({"do": "reach", "namespace": "calm", "object": id});
            Must::refused("denied", "").check(arena.villain(&object("reach-id"), &deed)?)?;
            // The id is the calm tenant's: in one's own namespace it is nobody's.
            let deed = json!({"do": "reach", "namespace": "evil", "object": id});
            let own = Must::Either(vec![
                Must::refused("not-found", ""),
                Must::refused("invalid-name", ""),
                Must::refused("invalid-argument", ""),
            ]);
            own.check(arena.villain(&object("reach-id"), &deed)?)
        }),
        Attack::deed(
            "name-in-another-namespace-from-inside",
            json!({"do": "reach", "namespace": "calm", "object": GARDEN}),
            Must::refused("denied", ""),
        ),
        Attack::deed(
            "namespace-with-dots-from-inside",
            json!({"do": "reach", "namespace": "../calm", "object": GARDEN}),
            Must::refused("denied", ""),
        ),
        Attack::new("without-a-token", |arena| {
            for path in ["/rpc/vault/x/ping", "/o/vault/x/", "/rpc/%76ault/x/ping"] {
                let response = Wire::tcp(&arena.url)?.request("POST", path, &[], b"[]")?;
                ensure!(response.status == 401, "{path}: {}", response.status);
            }
            Ok(())
        }),
        Attack::new("admin-at-the-main-door", admin),
    ]);
    // Names of children are names of files nowhere.
    for (what, name, fine) in [
        ("dot-dot", "..", true),
        ("slash", "../../x", false),
        ("nul", "a\0b", false),
        ("newline", "a\nb", false),
        ("empty", "", false),
        ("override", "a\u{202e}b", true),
    ] {
        let deed = json!({"do": "child", "name": name, "start": null, "deed": {"do": "answer", "bytes": 1}});
        let must = match fine {
            true => Must::Answer(json!({"ok": "a"})),
            false => Must::refused("invalid-name", ""),
        };
        all.push(Attack::deed(&format!("child-called-{what}"), deed, must));
    }
    all
}

fn contains_treasure(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("pear tree")
}

/// The id of the calm tenant's object opens nothing elsewhere.
fn id_of_another_namespace(arena: &Arena) -> Result<()> {
    let id = object_id("calm", GARDEN);
    // It is the right one: where it belongs, it leads there.
    let ops = json!([[{"op": "sql", "q": "SELECT treasure FROM t", "params": []}]]);
    let own = arena.rpc(&format!("calm/id:{id}"), "run", &ops)?;
    let own = own.ok().context("the tenant's own id")?;
    ensure!(contains_treasure(own.to_string().as_bytes()), "{own}");
    let failure = arena.rpc(&format!("evil/id:{id}"), "ping", &json!([]))?;
    let failure = failure.err().context("somebody else's id was accepted")?;
    ensure!(
        ["not-found", "invalid-name", "invalid-argument"].contains(&failure.kind.as_str()),
        "{failure:?}"
    );
    Ok(())
}

/// What operators ask at their own door is not there at this one.
fn admin(arena: &Arena) -> Result<()> {
    for path in [
        "/admin",
        "/admin/tree/calm/garden",
        "/admin/rows/calm/garden",
        "/%61dmin/tree/calm/garden",
        "/admin/../admin/",
    ] {
        let response = Wire::tcp(&arena.url)?.get(path, &[])?;
        ensure!((400..500).contains(&response.status), "{path}: {}", response.status);
        let body: Option<Value> = serde_json::from_slice(&response.body).ok();
        ensure!(
            body.is_none_or(|body| body.get("error").is_some()),
            "{path} was answered"
        );
    }
    Ok(())
}
