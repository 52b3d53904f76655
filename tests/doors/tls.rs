//! TLS: what is encrypted, for whom, and what is said of files that will not do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::support::cli;
use crate::support::wire::{LIMIT, Wire, authority};
use crate::{Site, access, refused, token};

const TLS: &str = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }";

/// Files of a certificate for localhost in a new folder.
fn certified() -> Result<(TempDir, CertificateDer<'static>)> {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    fs::write(dir.path().join("cert.pem"), made.cert.pem())?;
    let key = dir.path().join("key.pem");
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    Ok((dir, made.cert.der().clone()))
}

/// A client that trusts one certificate and speaks one version.
fn connect(
    url: &str,
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> Result<Wire<StreamOwned<ClientConnection, TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(authority(url))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    Ok(Wire(StreamOwned::new(connection, stream)))
}

#[test]
fn the_main_port_and_an_admin_address_are_encrypted() -> Result<()> {
    let (token, hash) = token()?;
    let (dir, certificate) = certified()?;
    let admin = format!("{TLS}\nadmin = {{ listen = \"127.0.0.1:0\", tokens = [\"{hash}\"] }}");
    let mut site = Site::in_dir(dir, &admin, &[("n", access(&[&hash]))])?;
    let url = site.host.url()?;
    ensure!(url.starts_with("https://"), "{url}");
    let bearer = format!("Bearer {token}");
    for version in [&TLS12, &TLS13] {
        let mut wire = connect(&url, &certificate, version)?;
        let headers = [("authorization", bearer.as_str()), ("origin", "https://localhost")];
        // Two on one connection.
        for _ in 0..2 {
            let response = wire.request("POST", "/rpc/n/x/run", &headers, b"[[]]")?;
            ensure!(response.status == 200 && response.body == b"[]", "{}", response.status);
        }
        refused(&wire.get("/o/n/x/", &[])?, 401, "denied", "token")?;
    }
    let admin_url = site.host.admin_url().unwrap_or_default();
    ensure!(admin_url.starts_with("https://"), "{admin_url:?}");
    let classes = connect(&admin_url, &certificate, &TLS13)?.get("/admin/classes", &[("authorization", &bearer)])?;
    ensure!(classes.status == 200, "{}", classes.status);

    // Somebody else's certificate is not taken for this one, and plain HTTP is not answered.
    let (_dir, another) = certified()?;
    ensure!(
        connect(&url, &another, &TLS13)?.get("/", &[]).is_err(),
        "any certificate would do"
    );
    let mut plain = Wire::tcp(&url)?;
    plain.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let _ = plain.0.read_to_end(&mut answer);
    ensure!(!answer.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&answer));

    cli::explains(&cli::call(&url, "n/x", "run", "[]")?, &["TLS", "curl", &url])?;
    ensure!(
        !site.host.whole_log().contains("chmod"),
        "a private key is private enough"
    );
    site.host.stop()
}

#[test]
fn a_handshake_has_a_limit_and_a_stop_does_not_wait_for_it() -> Result<()> {
    const LIMIT_MS: u64 = 400;
    let (dir, certificate) = certified()?;
    let mut site = Site::in_dir(
        dir,
        &format!("{TLS}\nhttp.tls_handshake_ms = {LIMIT_MS}"),
        &[("n", None)],
    )?;
    let url = site.host.url()?;
    let begun = Instant::now();
    let mut silent = Wire::tcp(&url)?;
    ensure!(silent.is_closed()?, "a byte for nothing");
    ensure!(
        begun.elapsed() >= Duration::from_millis(LIMIT_MS),
        "too early: {:?}",
        begun.elapsed()
    );
    // A beginning of a handshake is no handshake.
    let mut half = TcpStream::connect(authority(&url))?;
    half.set_read_timeout(Some(LIMIT))?;
    half.write_all(&[0x16, 0x03, 0x01])?;
    ensure!(Wire(half).is_closed()?, "a byte for nothing");
    let health = connect(&url, &certificate, &TLS13)?.get("/healthz", &[])?;
    ensure!(health.status == 200, "{}", health.status);

    site.host.stop()?;
    site.change(&format!("{TLS}\nhttp.tls_handshake_ms = 80000000"), &[("n", None)])?;
    let url = site.host.url()?;
    let mut silent = Wire::tcp(&url)?;
    // Accepted in order, so the silent one is being shaken hands with when this one is answered.
    connect(&url, &certificate, &TLS13)?.get("/healthz", &[])?;
    site.host.stop()?;
    ensure!(silent.is_closed()?, "a byte for nothing");
    Ok(())
}

#[test]
fn files_that_will_not_do_are_named() -> Result<()> {
    let (dir, _) = certified()?;
    let file = |name: &str| dir.path().join(name);
    let refused_for = |names: &[&str]| -> Result<()> {
        let config = crate::write_config(&dir, TLS, &[("n", None)])?;
        let host = crate::support::host::Host::without_build(&config)?;
        let output = cli::limited(&mut host.serve_command())?;
        ensure!(!host.data().exists(), "the data directory was touched before");
        cli::explains(&output, names)
    };
    let (certificate, key) = (fs::read(file("cert.pem"))?, fs::read(file("key.pem"))?);
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes);

    fs::remove_file(file("cert.pem"))?;
    refused_for(&["cert.pem", "No such file"])?;
    write(&file("cert.pem"), b"")?;
    refused_for(&["cert.pem", "BEGIN CERTIFICATE"])?;
    write(&file("cert.pem"), &key)?;
    refused_for(&["cert.pem", "BEGIN CERTIFICATE"])?;
    write(&file("cert.pem"), b"-----BEGIN CERTIFICATE-----\nnothing")?;
    refused_for(&["cert.pem", "PEM"])?;
    write(
        &file("cert.pem"),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )?;
    refused_for(&["cert.pem"])?;
    write(&file("cert.pem"), &certificate)?;
    write(&file("key.pem"), &certificate)?;
    refused_for(&["key.pem", "PRIVATE KEY"])?;
    let another = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    write(&file("key.pem"), another.signing_key.serialize_pem().as_bytes())?;
    refused_for(&["key.pem", "cert.pem", "together"])?;

    // Others may read it: said, not refused.
    write(&file("key.pem"), &key)?;
    fs::set_permissions(file("key.pem"), fs::Permissions::from_mode(0o644))?;
    let mut site = Site::in_dir(dir, TLS, &[("n", None)])?;
    site.host.url()?;
    site.host.stop()?;
    let log = site.host.whole_log();
    ensure!(
        log.contains("key.pem") && log.contains("0644") && log.contains("chmod 600"),
        "{log}"
    );
    Ok(())
}
