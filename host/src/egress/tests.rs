//! Tables of what may be asked, and a client against servers that misbehave.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::egress::client::{Client, RequestBody, Response, Rules, Sent};
use crate::egress::resolve::{Permits, Resolve, Resolved};
use crate::egress::{BODY_BYTES_MAX, EgressError, HEADER_BYTES_MAX, HEADERS_MAX, HostList, RequestHead, connect};

fn head(uri: &str) -> RequestHead {
    RequestHead::new("GET", uri, &[]).unwrap()
}

fn list(hosts: &[&str]) -> HostList {
    HostList::parse(hosts).unwrap()
}

#[test]
fn a_list_allows_what_stands_on_it() {
    for (pattern, allowed, denied) in [
        (
            "api.example.com",
            &[
                "https://api.example.com",
                "http://API.example.COM/x",
                "https://api.example.com:443/",
            ][..],
            &[
                "https://api.example.com:8443",
                "http://api.example.com:443",
                "https://example.com",
                "https://x.api.example.com",
                "https://api.example.com.evil.org",
                "https://evil-api.example.com",
            ][..],
        ),
        (
            "*.Example.org",
            &["https://a.example.org", "http://a.b.example.org"],
            &[
                "https://example.org",
                "https://aexample.org",
                "https://a.example.org.evil.net",
                "https://a.example.org:81",
            ],
        ),
        (
            "a.example:8080",
            &["http://a.example:8080", "https://a.example:8080"],
            &["http://a.example"],
        ),
        ("*.a.example:81", &["http://x.a.example:81"], &["http://x.a.example"]),
        (
            "*",
            &["https://anything.example", "http://8.8.8.8", "http://[2600::1]/"],
            &["http://a.example:8080"],
        ),
        ("*:8080", &["http://a.example:8080"], &["http://a.example"]),
        (
            "127.0.0.1:8080",
            &["http://127.0.0.1:8080"],
            &["http://127.0.0.1", "http://127.0.0.2:8080", "http://localhost:8080"],
        ),
        (
            "[::1]:8080",
            &["http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080"],
            &["http://[::1]", "http://[::2]:8080"],
        ),
        ("[::1]", &["http://[::1]"], &["http://[::1]:8080"]),
    ] {
        let hosts = list(&[pattern]);
        for uri in allowed {
            assert!(hosts.allows(&head(uri).origin), "{pattern} should allow {uri}");
        }
        for uri in denied {
            assert!(!hosts.allows(&head(uri).origin), "{pattern} should not allow {uri}");
        }
    }
    assert!(!list(&[]).allows(&head("http://a.example").origin));
}

#[test]
fn what_is_no_host_is_refused_by_name() {
    for wrong in [
        "",
        " ",
        "a b",
        "http://a.example",
        "a.example/",
        "a.example:",
        "a.example:0",
        "a.example:65536",
        "a.example:x",
        ":80",
        "a..example",
        ".example",
        "a.example.",
        "-a.example",
        "a-.example",
        "*a.example",
        "a.*.example",
        "**",
        "*.",
        "*.*.example",
        "*.127.0.0.1",
        "user@a.example",
        "bücher.example",
        "127.1",
        "0x7f.1",
        "2130706433",
        "127.0.0.01",
        "127.0.0.1.",
        "::1",
        "[::1",
        "[fe80::1%eth0]",
        "[127.0.0.1]",
        "a\u{0}b.example",
    ] {
        let error = HostList::parse(&["fine.example", wrong]).unwrap_err();
        assert!(error.len() > 10, "{wrong:?}: {error}");
    }
    assert!(HostList::parse(&vec!["a.example"; 65]).unwrap_err().contains("64"));
    assert!(HostList::parse(&[format!("{}.example", "a".repeat(64))]).is_err());
    assert!(HostList::parse(&["a.".repeat(130) + "example"]).is_err());
}

#[test]
fn lists_meet_where_a_host_is_on_all_of_them() {
    for (lists, meet) in [
        (&[&["a.example"][..], &["a.example"]][..], true),
        (&[&["a.example"], &["b.example"]], false),
        (&[&["*.example"], &["a.example"]], true),
        (&[&["*.example"], &["*.a.example"], &["b.a.example:443"]], true),
        (&[&["*.a.example"], &["*.b.example"]], false),
        (&[&["*"], &["*.b.example"]], true),
        (&[&["*.example"], &["example"]], false),
        (&[&["a.example:8080"], &["a.example"]], false),
        (&[&["a.example:8080"], &["*:8080"]], true),
        (&[&["a.example"], &["a.example:80"], &["a.example:443"]], false),
        (&[&["*.example"], &["1.2.3.4"]], false),
        (&[&["*"], &["1.2.3.4"]], true),
        (&[&[], &["a.example"]], false),
        (&[], false),
    ] {
        let read: Vec<_> = lists.iter().map(|hosts| Arc::new(list(hosts))).collect();
        assert_eq!(HostList::meet(&read), meet, "{lists:?}");
        let turned: Vec<_> = read.into_iter().rev().collect();
        assert_eq!(HostList::meet(&turned), meet, "{lists:?}, turned round");
    }
}

#[test]
fn a_uri_has_one_form() {
    for (given, form) in [
        ("http://A.Example", "http://a.example/"),
        ("HTTPS://a.example:443/x?y=Z#part", "https://a.example/x?y=Z"),
        ("https://a.example:80", "https://a.example:80/"),
        ("http://a.example?q", "http://a.example/?q"),
        ("http://[0:0::1]:80/", "http://[::1]/"),
        ("http://1.2.3.4:8080/a/../b", "http://1.2.3.4:8080/a/../b"),
        (
            "https://xn--bcher-kva.example/%C3%BC",
            "https://xn--bcher-kva.example/%C3%BC",
        ),
    ] {
        assert_eq!(head(given).uri(), form, "{given}");
    }
}

#[test]
fn a_uri_that_could_be_read_in_two_ways_is_none() {
    for wrong in [
        "",
        "/path",
        "a.example",
        "a.example/x",
        "//a.example/x",
        "http:",
        "http://",
        "http:///x",
        "ftp://a.example",
        "file:///etc/passwd",
        "ws://a.example",
        "http://user@a.example",
        "http://user:pass@a.example/",
        "https://api.example.com@evil.example/",
        "http://a.example:",
        "http://a.example:0",
        "http://a.example:65536",
        "http://a.example:99999/",
        "http://a.example:+80/",
        "http://a.example:8o/",
        "http://a b/",
        "http://a.example\\@b.example/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.0.0.1./",
        "http://[::1%25lo]/",
        "http://[::1/",
        "http://::1/",
        "http://bücher.example/",
        "http://a.example/ü",
        "http://a.example/a b",
        "http://a.example/a\r\nhost: b",
        "http://a%2eexample/",
        "http://a..example/",
    ] {
        let error = RequestHead::new("GET", wrong, &[]).unwrap_err();
        assert!(matches!(error, EgressError::Invalid(_)), "{wrong:?}: {error:?}");
    }
    let long = format!("http://a.example/{}", "x".repeat(8 << 10));
    assert!(matches!(
        RequestHead::new("GET", &long, &[]),
        Err(EgressError::Limit { code: "uri", .. })
    ));
}

#[test]
fn headers_of_the_connection_are_not_the_facets_to_set() {
    let given = |pairs: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect()
    };
    let headers = given(&[
        ("Accept", "a"),
        ("accept", "b"),
        ("Host", "evil.example"),
        ("Content-Length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "x-secret, close"),
        ("X-Secret", "1"),
        ("Upgrade", "websocket"),
        ("TE", "trailers"),
        ("Expect", "100-continue"),
        ("Proxy-Authorization", "p"),
        ("Authorization", "Bearer t"),
    ]);
    let head = RequestHead::new("POST", "http://a.example", &headers).unwrap();
    let kept: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    assert_eq!(
        kept,
        [("accept", &b"a"[..]), ("accept", b"b"), ("authorization", b"Bearer t")]
    );
    for wrong in [
        ("", "x"),
        ("a b", "x"),
        ("a", "x\r\nb: y"),
        ("a", "x\u{0}"),
        ("a:", "x"),
    ] {
        let error = RequestHead::new("GET", "http://a.example", &given(&[wrong])).unwrap_err();
        assert!(matches!(error, EgressError::Invalid(_)), "{wrong:?}");
    }
    let is_limit = |headers: &[(String, Vec<u8>)]| match RequestHead::new("GET", "http://a.example", headers) {
        Ok(_) => false,
        Err(EgressError::Limit { code, .. }) => code == "headers",
        Err(other) => panic!("{other}"),
    };
    let many = |count| given(&vec![("a", "b"); count]);
    assert!(!is_limit(&many(HEADERS_MAX)) && is_limit(&many(HEADERS_MAX + 1)));
    let large = |bytes| given(&[("a", &"x".repeat(bytes - 1))]);
    assert!(!is_limit(&large(HEADER_BYTES_MAX)) && is_limit(&large(HEADER_BYTES_MAX + 1)));
    for method in ["CONNECT", "TRACE", "", "GET ", "G\r\nT"] {
        assert!(RequestHead::new(method, "http://a.example", &[]).is_err(), "{method:?}");
    }
    assert!(RequestHead::new("PURGE", "http://a.example", &[]).is_ok());
}

/// Answers with the next of these addresses each time; nothing when there are no more.
struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

impl Resolve for Names {
    fn resolve(&self, _: String, _: Permits) -> Resolved {
        let next = self.0.lock().unwrap().pop_front();
        Box::pin(async { next.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Another address of this machine, which no rule of these tests lists.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn client(names: &[&[Ipv4Addr]]) -> Client {
    let names = names.iter().map(|all| all.iter().map(|one| IpAddr::V4(*one)).collect());
    Client::with(
        connect::tls(None).unwrap(),
        Box::new(Names(Mutex::new(names.collect()))),
    )
}

/// Takes `HERE` for a public address.
fn rules() -> Rules {
    Rules::new(vec!["127.0.0.1/32".parse().unwrap()])
}

fn nothing() -> RequestBody {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

async fn get(client: &Client, rules: &Rules, uri: &str) -> (Result<Response, EgressError>, bool) {
    let sent = Sent::default();
    let result = client.fetch(rules, head(uri), nothing(), &sent).await;
    (result, sent.get())
}

async fn whole(response: Response) -> Result<Vec<u8>, String> {
    let (mut body, mut all) = (response.body, Vec::new());
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

/// A server of one answer for all, and how many connections it has had.
struct Server {
    at: SocketAddr,
    seen: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, heads: &Mutex<Vec<String>>, text: &[u8], then: Then) {
    let head = read_head(&mut stream).await;
    heads.lock().unwrap().push(head);
    let _ = stream.write_all(text).await;
    match then {
        Then::Close => {
            let _ = stream.shutdown().await;
        }
        Then::Flood => while stream.write_all(&[b'x'; 64 << 10]).await.is_ok() {},
        Then::Wait => {
            // Until the other end goes.
            let _ = stream.read_u8().await;
        }
    }
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Flood,
    Wait,
}

async fn serve(at: SocketAddr, tls: Option<TlsAcceptor>, text: String, then: Then) -> Server {
    let listener = TcpListener::bind(at).await.unwrap();
    let (at, seen, heads) = (
        listener.local_addr().unwrap(),
        Arc::new(AtomicUsize::new(0)),
        Arc::default(),
    );
    let server = Server {
        at,
        seen: seen.clone(),
        heads: Arc::clone(&heads),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let (tls, text, heads) = (tls.clone(), text.clone(), heads.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, &heads, text.as_bytes(), then).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, &heads, text.as_bytes(), then).await;
                        }
                    }
                }
            });
        }
    });
    server
}

async fn plain(text: &str, then: Then) -> Server {
    serve((HERE, 0).into(), None, text.into(), then).await
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nX-A: b\r\ncontent-length: 5\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\nhello";

#[tokio::test]
async fn a_request_and_its_response_arrive_whole() {
    let server = plain(HELLO, Then::Wait).await;
    let client = client(&[&[HERE]]);
    let headers = [
        ("X-Mine".to_owned(), b"1".to_vec()),
        ("host".to_owned(), b"evil".to_vec()),
    ];
    let uri = format!("http://name.example:{}/a?b#c", server.at.port());
    let head = RequestHead::new("PUT", &uri, &headers).unwrap();
    let body = Full::new(Bytes::from_static(b"body"))
        .map_err(|never| match never {})
        .boxed();
    let response = client.fetch(&rules(), head, body, &Sent::default()).await.unwrap();
    assert_eq!(response.status, 200);
    let names: Vec<_> = response.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-a", "content-length"]);
    assert_eq!(whole(response).await.unwrap(), b"hello");
    let sent = server.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(sent.starts_with("put /a?b http/1.1\r\n"), "{sent}");
    for line in ["x-mine: 1", "content-length: 4", "connection: close"] {
        assert!(sent.contains(&format!("\r\n{line}\r\n")), "{sent} lacks {line}");
    }
    assert!(
        sent.contains(&format!("\r\nhost: name.example:{}\r\n", server.at.port())),
        "{sent}"
    );
    assert_eq!(sent.matches("host:").count(), 1, "{sent}");
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_connected_to() {
    let server = plain(HELLO, Then::Close).await;
    let closed = Rules::new(Vec::new());
    let uri = format!("http://127.0.0.1:{}/", server.at.port());
    for (uri, names) in [
        (uri.clone(), &[][..]),
        (format!("http://[::ffff:127.0.0.1]:{}/", server.at.port()), &[]),
        (
            format!("http://inside.example:{}/", server.at.port()),
            &[&[HERE][..]][..],
        ),
    ] {
        let (refused, sent) = get(&client(names), &closed, &uri).await;
        assert!(matches!(refused, Err(EgressError::NotPublic(_))), "{uri}");
        assert!(!sent);
    }
    assert_eq!(server.seen.load(Ordering::SeqCst), 0);
    assert!(get(&client(&[]), &rules(), &uri).await.0.is_ok());
}

/// DNS rebinding: what is looked at is what is connected to, however soon the name changes.
#[tokio::test]
async fn a_name_that_changes_its_address_reaches_only_the_one_that_was_checked() {
    let good = plain(HELLO, Then::Close).await;
    let port = good.at.port();
    let bad = serve((ELSEWHERE, port).into(), None, HELLO.into(), Then::Close).await;
    let client = client(&[&[HERE], &[ELSEWHERE], &[ELSEWHERE, HERE]]);
    let uri = format!("http://rebind.example:{port}/");
    assert!(get(&client, &rules(), &uri).await.0.is_ok());
    let seen = || (good.seen.load(Ordering::SeqCst), bad.seen.load(Ordering::SeqCst));
    assert_eq!(seen(), (1, 0), "one look-up, and it was used");
    assert!(matches!(
        get(&client, &rules(), &uri).await.0,
        Err(EgressError::NotPublic(_))
    ));
    assert!(
        get(&client, &rules(), &uri).await.0.is_ok(),
        "the other address is tried alone"
    );
    assert_eq!(seen(), (2, 0));
}

#[tokio::test]
async fn no_connection_is_told_from_no_answer() {
    let free = TcpListener::bind((HERE, 0)).await.unwrap().local_addr().unwrap().port();
    let (refused, sent) = get(&client(&[]), &rules(), &format!("http://127.0.0.1:{free}/")).await;
    assert!(matches!(refused, Err(EgressError::Connect { .. })) && !sent);
    let (unknown, sent) = get(&client(&[]), &rules(), "http://nobody.example/").await;
    assert!(matches!(unknown, Err(EgressError::Dns { .. })) && !sent);
    for text in [
        "",
        "HTTP/1.1 2",
        "SSH-2.0-x\r\n",
        "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let server = plain(text, Then::Close).await;
        let (failed, sent) = get(&client(&[]), &rules(), &format!("http://{}/", server.at)).await;
        assert!(matches!(failed, Err(EgressError::Http { .. })) && sent, "{text:?}");
    }
}

#[tokio::test]
async fn redirects_are_answers_like_any_other() {
    let text = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2/\r\ncontent-length: 0\r\n\r\n";
    let server = plain(text, Then::Close).await;
    let response = get(&client(&[]), &rules(), &format!("http://{}/", server.at))
        .await
        .0
        .unwrap();
    assert_eq!(
        (response.status, &response.headers["location"]),
        (302, &"http://127.0.0.2/".parse().unwrap())
    );
    assert_eq!(server.seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_response_that_is_too_large_is_cut_off() {
    for text in [
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1)),
        format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX)),
    ] {
        let server = plain(&text, Then::Wait).await;
        let (failed, _) = get(&client(&[]), &rules(), &format!("http://{}/", server.at)).await;
        assert!(
            matches!(failed, Err(EgressError::Limit { code: "headers", .. })),
            "{:?}",
            failed.err()
        );
    }
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
    let server = plain(&announced, Then::Flood).await;
    let (failed, _) = get(&client(&[]), &rules(), &format!("http://{}/", server.at)).await;
    assert!(
        matches!(failed, Err(EgressError::Limit { code: "body", .. })),
        "{:?}",
        failed.err()
    );
    let server = plain("HTTP/1.1 200 OK\r\n\r\n", Then::Flood).await;
    let (response, _) = get(&client(&[]), &rules(), &format!("http://{}/", server.at)).await;
    assert!(whole(response.unwrap()).await.unwrap_err().contains("more than"));
}

#[tokio::test]
async fn a_body_that_breaks_off_has_no_end() {
    let server = plain("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", Then::Close).await;
    let (response, _) = get(&client(&[]), &rules(), &format!("http://{}/", server.at)).await;
    assert!(whole(response.unwrap()).await.is_err());
}

#[tokio::test]
async fn who_stops_waiting_has_no_connection_left() {
    let server = plain("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", Then::Wait).await;
    let rules = rules();
    let before = rules.connections.available_permits();
    let (response, _) = get(&client(&[]), &rules, &format!("http://{}/", server.at)).await;
    assert_eq!(rules.connections.available_permits(), before - 1);
    drop(response);
    assert_eq!(rules.connections.available_permits(), before);
    let slow = plain("", Then::Wait).await;
    let client = client(&[]);
    let uri = format!("http://{}/", slow.at);
    tokio::select! {
        _ = get(&client, &rules, &uri) => panic!("it cannot have answered"),
        () = async { while slow.heads.lock().unwrap().is_empty() { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(rules.connections.available_permits(), before);
}

#[tokio::test]
async fn a_namespace_has_so_many_connections_and_no_more() {
    let server = plain(HELLO, Then::Wait).await;
    let rules = rules();
    let held = rules.connections.clone();
    let _all = held
        .try_acquire_many(u32::try_from(held.available_permits()).unwrap())
        .unwrap();
    let (refused, sent) = get(&client(&[]), &rules, &format!("http://{}/", server.at)).await;
    assert!(
        matches!(
            refused,
            Err(EgressError::Limit {
                code: "connections",
                ..
            })
        ) && !sent
    );
}

#[tokio::test]
async fn a_body_that_its_writer_drops_is_not_sent_as_whole() {
    let server = plain("", Then::Wait).await;
    let pieces = futures_util::stream::iter([
        Ok(hyper::body::Frame::data(Bytes::from_static(b"half"))),
        Err(std::io::Error::other("gone")),
    ]);
    let head = RequestHead::new("POST", &format!("http://{}/", server.at), &[]).unwrap();
    let body = http_body_util::StreamBody::new(pieces).boxed();
    let failed = client(&[]).fetch(&rules(), head, body, &Sent::default()).await;
    assert_eq!(failed.err(), Some(EgressError::Body("gone".into())));
}

/// An authority of this test's own, as PEM, and a server's end of TLS for these names.
fn authority(names: &[&str]) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (root.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_server_is_who_its_certificate_says_or_nobody() {
    let (pem, acceptor) = authority(&["right.example", "127.0.0.1"]);
    let server = serve((HERE, 0).into(), Some(acceptor), HELLO.into(), Then::Close).await;
    let port = server.at.port();
    let names = || Box::new(Names(Mutex::new([vec![HERE.into()]].into())));
    let trusting = || Client::with(connect::tls(Some(pem.as_bytes())).unwrap(), names());
    for uri in [
        format!("https://right.example:{port}/"),
        format!("https://127.0.0.1:{port}/"),
    ] {
        let response = get(&trusting(), &rules(), &uri).await.0.unwrap();
        assert_eq!(whole(response).await.unwrap(), b"hello", "{uri}");
    }
    let (wrong, sent) = get(&trusting(), &rules(), &format!("https://wrong.example:{port}/")).await;
    assert!(matches!(wrong, Err(EgressError::Tls { .. })) && !sent);
    let (strange, sent) = get(&client(&[&[HERE]]), &rules(), &format!("https://right.example:{port}/")).await;
    assert!(
        matches!(strange, Err(EgressError::Tls { .. })) && !sent,
        "nobody vouches for it"
    );
    let (unready, _) = get(&trusting(), &rules(), &format!("http://right.example:{port}/")).await;
    assert!(
        matches!(unready, Err(EgressError::Http { .. })),
        "plain text to a TLS port"
    );
    assert_eq!(server.heads.lock().unwrap().len(), 2);
    for wrong in [
        &b""[..],
        b"no PEM",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(connect::tls(Some(wrong)).is_err());
    }
}
