//! Requests at random against the real answers of a host without namespaces: nothing panics, and nothing is the host's fault.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Uri};

use super::access::Gate;
use super::names::Names;
use super::{Guard, Served, answer};
use crate::Host;
use crate::config::{Access, Config, Tokens};

const SEED: u64 = 8_787;
const INPUTS: usize = 20_000;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) as usize % end
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    /// Pieces of what is meant, and bytes that are not.
    fn text(&mut self, pieces: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.below(9) {
            match self.below(6) {
                0 => bytes.push(self.below(256) as u8),
                _ => bytes.extend_from_slice(self.one_of(pieces).as_bytes()),
            }
        }
        bytes
    }
}

const PATHS: [&str; 24] = [
    "/",
    "//",
    "rpc",
    "/rpc/",
    "/o/",
    "o",
    "/admin/",
    "tree/",
    "rows/",
    "classes",
    "healthz",
    "n",
    "/n/",
    "x",
    "id:",
    "%69d%3A",
    "0123456789abcdef",
    "%",
    "%2",
    "%2F",
    "%00",
    "%ff",
    "..",
    "%2e%2e/",
];
const HEADERS: [&str; 18] = [
    "localhost",
    "127.0.0.1",
    "[",
    "::1",
    "]",
    ":",
    "80",
    "http://",
    "https:",
    "Bearer",
    "bearer ",
    " ",
    "Basic ",
    "secret",
    "null",
    ".",
    "@",
    ",",
];

fn served(host: &Host, guarded: bool) -> Served {
    let mut config = Config::parse("").expect("an empty configuration is one");
    if guarded {
        let mut namespace: crate::config::NamespaceConfig = toml::from_str("class = \"c\"").expect("is one");
        namespace.access = Some(Access::Tokens(Tokens::of(&["secret"])));
        config.namespaces.insert("n".into(), namespace);
    }
    Served {
        host: host.clone().into(),
        http: config.host.http.clone(),
        names: Names::of(&[], guarded),
        guard: Guard::Calls {
            gate: Gate::new(&config),
            open: None,
            with_admin: guarded,
        },
    }
}

fn request(random: &mut Random) -> Option<Request<Body>> {
    let methods = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "X"];
    let mut uri = random.text(&PATHS);
    if random.below(2) == 0 {
        uri.insert(0, b'/');
    }
    if random.below(4) == 0 {
        uri.extend(b"?path=");
        uri.extend(random.text(&PATHS));
        uri.extend(b"&rows=9");
    }
    let mut request = Request::builder()
        .method(Method::from_bytes(random.one_of(&methods).as_bytes()).ok()?)
        .uri(Uri::try_from(uri).ok()?);
    for name in ["host", "origin", "authorization", "host", "transfer-encoding"] {
        let value = random.text(&HEADERS);
        if random.below(3) > 0 {
            request = request.header(name, value);
        }
    }
    if random.below(2) == 0 {
        request = request.header("host", "localhost");
    }
    request
        .body(Body::from(random.text(&["[", "]", "1", ",", "\"", "{}"])))
        .ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_random_are_answered_or_refused() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let config = Config::parse("").expect("an empty configuration is one");
    let host = Host::open(&config, data.path()).expect("an empty host");
    let doors = [Arc::new(served(&host, false)), Arc::new(served(&host, true))];
    let mut random = Random(SEED);
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    let mut asked = 0;
    while asked < INPUTS {
        let Some(request) = request(&mut random) else {
            continue;
        };
        asked += 1;
        let what = format!("{} {} {:?}", request.method(), request.uri(), request.headers());
        let status = answer(&doors[asked % 2], request).await.status().as_u16();
        assert!(
            (200..500).contains(&status),
            "seed {SEED}, input {asked}: {status} for {what}"
        );
        *statuses.entry(status).or_default() += 1;
    }
    // All of the ways in were found, or this proves little.
    for status in [200, 308, 400, 401, 403, 404, 405] {
        assert!(statuses.contains_key(&status), "no {status}: {statuses:?}");
    }
    host.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_over_a_host_hears_that_its_directory_is_gone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (data, aside) = (dir.path().join("data"), dir.path().join("aside"));
    let config = Config::parse("").expect("an empty configuration is one");
    let host = Host::open(&config, &data).expect("an empty host");
    let door = Arc::new(served(&host, false));
    let ask = async || {
        let request = Request::builder().uri("/healthz").body(Body::empty());
        let response = answer(&door, request.expect("it is one")).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await;
        (
            status,
            String::from_utf8_lossy(&body.expect("a short text")).into_owned(),
        )
    };
    assert_eq!(ask().await, (200, "ok\n".to_owned()));
    std::fs::rename(&data, &aside).expect("it can be moved");
    let (status, why) = ask().await;
    assert!(
        status == 503 && why.contains("data directory is gone"),
        "{status}: {why}"
    );
    assert!(!why.contains('/'), "nobody is told where it was: {why}");
    std::fs::rename(&aside, &data).expect("it can be moved back");
    assert_eq!(ask().await.0, 200);
    host.stop().await.expect("a clean stop");
}

#[test]
fn configurations_at_random_are_read_or_refused() {
    const PIECES: [&str; 28] = [
        "[host]\n",
        "[host.http]\n",
        "[namespaces.n]\n",
        "[classes.c]\n",
        "class = \"c\"\n",
        "component = \"x\"\n",
        "access = ",
        "\"public\"\n",
        "{ tokens = [",
        "\"sha256:00\"",
        "] }\n",
        "names = ",
        "[\"localhost\"]\n",
        "admin = ",
        "{ listen = ",
        "\"\"",
        ", ",
        "tokens = ",
        "7",
        "}\n",
        "head_ms = ",
        "connections_max = ",
        "99999999999999999999",
        "-1",
        "\n",
        "\"",
        "facetd_x",
        "tls.key = ",
    ];
    let mut random = Random(SEED);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..INPUTS {
        let bytes = random.text(&PIECES);
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        match Config::parse(&text).and_then(|config| config.check()) {
            Ok(()) => read += 1,
            Err(said) => {
                refused += 1;
                assert!(!said.contains("facetd_x"), "{text:?} is shown: {said}");
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}
