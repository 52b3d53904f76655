//! Tells what WASI shows to a facet: every method answers something that only the host can have put there.
//!
//! It stands for what ordinary toolchains build: a blocking handler of facetd, everything else from WASI 0.2.

wit_bindgen::generate!({
    path: ["../../../wit", "wit"],
    world: "test:wasi/wasi-guest",
    generate_all,
});

use exports::facetd::runtime::blocking_handler::{Answer, Failure, Guest, Payload, Stub};
use facetd::runtime::kv;
use facetd::runtime::types::Format;
use wasi::cli::{environment, exit, stderr, stdin, stdout};
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::preopens;
use wasi::random::random;

struct Wasi;
export!(Wasi);

impl Guest for Wasi {
    /// The arguments of all methods are taken as they come, as bytes.
    fn call(method: String, args: Payload, _: Vec<Stub>, _: String) -> Result<Answer, Failure> {
        let json = match method.as_str() {
            "look" => look(),
            // A line in two pieces.
            "say" => {
                let out = stdout::get_stdout();
                let written = out
                    .blocking_write_and_flush(b"said: ")
                    .and_then(|()| out.blocking_write_and_flush(&[&args.body[..], b"\n"].concat()))
                    .and_then(|()| stderr::get_stderr().blocking_write_and_flush(b"and complained\n"));
                written.is_ok().to_string()
            }
            // A handle for each piece, as Rust's `print!` does it, and no end of the second line.
            "mumble" => {
                let print = |text: &[u8]| stdout::get_stdout().blocking_write_and_flush(text).is_ok();
                (print(b"half ") && print(b"and half\nno ") && print(b"end")).to_string()
            }
            // A wait that is WASI's.
            "nap" => {
                let before = monotonic_clock::now();
                nap();
                (monotonic_clock::now() - before).to_string()
            }
            "write-exit" | "write-nap-exit" => {
                let _ = kv::put("written", b"yes");
                if method == "write-nap-exit" {
                    nap();
                }
                exit::exit(Ok(()));
                "null".into()
            }
            "written" => kv::get("written").is_ok_and(|value| value.is_some()).to_string(),
            other => {
                let message = format!("no method `{other}`");
                return Err(Failure {
                    code: "no-such-method".into(),
                    message,
                    detail: None,
                });
            }
        };
        let value = Payload {
            format: Format::Json,
            body: json.into_bytes(),
        };
        Ok(Answer {
            value,
            stubs: Vec::new(),
        })
    }
}

fn nap() {
    monotonic_clock::subscribe_duration(20_000_000).block();
}

fn look() -> String {
    let wall = wall_clock::now();
    let (once, again) = (random::get_random_bytes(16), random::get_random_bytes(16));
    format!(
        r#"{{"environment": {}, "arguments": {}, "directory": {:?}, "preopens": {}, "stdin": {:?},
            "wall_s": {}, "wall_ns": {}, "monotonic_ns": {}, "random": {}, "random_differs": {}}}"#,
        environment::get_environment().len(),
        environment::get_arguments().len(),
        environment::initial_cwd().unwrap_or_default(),
        preopens::get_directories().len(),
        match stdin::get_stdin().blocking_read(1) {
            Ok(bytes) => format!("{} bytes", bytes.len()),
            Err(_) => "closed".into(),
        },
        wall.seconds,
        wall.nanoseconds,
        monotonic_clock::now(),
        once.len(),
        once != again,
    )
}
