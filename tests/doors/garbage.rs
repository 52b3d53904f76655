//! Whatever comes in at the door is answered or cut, and the host lives.

use anyhow::{Result, ensure};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::open_site;
use crate::support::wire::{LIMIT, Wire, authority, is_cut};

const SEED: u64 = 20_261_123;
const CONNECTIONS: usize = 600;

/// xorshift64*: the same bytes each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end
    }
}

const REQUESTS: [&str; 6] = [
    "POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n[[]]",
    "GET /o/n/id%3A00/ HTTP/1.1\r\nhost: [::1]:80\r\norigin: http://[::1]:80\r\n\r\n",
    "GET http://localhost/o/n/x HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer x\r\n\r\n",
    "POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n4\r\n[[]]\r\n0\r\n\r\n",
    "POST /rpc/n/x/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nconnection: keep-alive\r\nexpect: 100-continue\r\n\r\n",
];

/// Requests with a few bytes changed, doubled or left out; or nothing but noise.
fn bytes(random: &mut Random) -> Vec<u8> {
    if random.below(8) == 0 {
        return (0..random.below(400)).map(|_| random.next() as u8).collect();
    }
    let mut bytes: Vec<u8> = (0..=random.below(3))
        .flat_map(|_| REQUESTS[random.below(REQUESTS.len())].bytes())
        .collect();
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.remove(at)),
            _ => {
                let end = (at + random.below(40)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

#[test]
fn bytes_that_are_hardly_http_never_harm_the_host() -> Result<()> {
    let mut site = open_site("")?;
    let url = site.host.url()?;
    let mut random = Random(SEED);
    let mut answers = 0;
    for round in 0..CONNECTIONS {
        let sent = bytes(&mut random);
        let mut stream = TcpStream::connect(authority(&url))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let _ = stream.write_all(&sent);
        // Nothing more will come, so nothing is waited for.
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            ensure!(is_cut(&error), "seed {SEED}, connection {round}: {error}");
        }
        let text = String::from_utf8_lossy(&answer);
        // The guest's own word, for a method that it does not have, is the one failure there may be.
        let failures = text.matches("HTTP/1.1 5").count();
        let of_guest = text.matches("\"code\":\"no-such-method\"").count();
        ensure!(
            failures == of_guest,
            "seed {SEED}, connection {round}: {:?}: {text}",
            String::from_utf8_lossy(&sent)
        );
        answers += usize::from(text.starts_with("HTTP/1.1 "));
    }
    ensure!(answers > CONNECTIONS / 2, "only {answers} were answered");
    ensure!(
        Wire::tcp(&url)?.request("POST", "/rpc/n/x/run", &[], b"[[]]")?.status == 200,
        "it serves"
    );
    site.host.stop()?;
    ensure!(!site.host.whole_log().contains("panicked"), "{}", site.host.log());
    Ok(())
}
