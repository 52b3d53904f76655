//! What `#[facet]` writes, tried on the host: calls by name, arguments, results, errors. Functions of the facet host are
//! out of reach here; the guests in `tests/guests` and `examples` use them.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use facetd_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// A facet whose methods need nothing of the host.
pub struct Desk {
    calls: Cell<u32>,
    notes: RefCell<Vec<String>>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
pub struct Point {
    x: i64,
    y: Option<u64>,
}

#[facet]
impl Desk {
    async fn start() -> Result<Self> {
        Ok(Desk {
            calls: Cell::new(0),
            notes: RefCell::default(),
        })
    }

    /// Plain in, plain out.
    pub fn add(&self, a: i64, b: i64) -> i64 {
        self.calls.set(self.calls.get() + 1);
        a + b
    }

    pub async fn mirror(&self, point: Point, times: Option<u8>) -> Result<Vec<Point>, Error> {
        if times == Some(0) {
            fail!("zero", "not {} times", 0);
        }
        Ok(vec![Point {
            x: -point.x,
            y: point.y,
        }])
    }

    pub fn note(&self, text: String) {
        self.notes.borrow_mut().push(text);
    }

    pub fn calls(&self) -> Result<u32> {
        Ok(self.secret())
    }

    pub fn parse(&self, mut text: String) -> Result<i64> {
        text.retain(|c| c != ' ');
        Ok(text.parse()?)
    }

    pub fn bytes(&self, bytes: Bytes) -> Bytes {
        bytes
    }

    /// Run by the host when the alarm is due, and by nobody else.
    pub async fn alarm(&self, alarm: Alarm) -> Result<()> {
        match alarm.retry {
            0 => fail!("again", "set for {}", alarm.scheduled_ms),
            retry => self.calls.set(retry),
        }
        Ok(())
    }

    /// Handed what children fetch, and nothing else.
    fn outbound(&self, child: String, request: http::Request) -> Result<http::Response> {
        fail!("not-mine", "{child} wants {}", request.uri)
    }

    fn secret(&self) -> u32 {
        self.calls.get()
    }
}

/// A facet that is written elsewhere.
#[facet(stub)]
pub trait Remote {
    async fn shout(&self, text: String) -> Result<String>;
    fn count(&self) -> u64;
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn call(desk: &Desk, method: &str, args: &str) -> Result<String> {
    let args = Payload::json(&serde_json::from_str::<serde_json::Value>(args).unwrap()).unwrap();
    let answer = now(desk.call(method, args, Vec::new()))?;
    Ok(String::from_utf8(answer.value.body).unwrap())
}

#[test]
fn methods_are_called_by_name() {
    let desk = now(Desk::start()).unwrap();
    assert_eq!(call(&desk, "add", "[40, 2]").unwrap(), "42");
    assert_eq!(
        call(&desk, "add", "[\"9007199254740993\", 0]").unwrap(),
        "\"9007199254740993\""
    );
    assert_eq!(call(&desk, "calls", "[]").unwrap(), "2");
    assert_eq!(call(&desk, "note", "[\"x\"]").unwrap(), "null");
    assert_eq!(*desk.notes.borrow(), ["x"]);
    assert_eq!(
        call(&desk, "mirror", "[{\"x\": 1, \"y\": \"18446744073709551615\"}]").unwrap(),
        "[{\"x\":-1,\"y\":\"18446744073709551615\"}]"
    );
    assert_eq!(
        call(&desk, "bytes", "[{\"$b64\": \"AP8=\"}]").unwrap(),
        "{\"$b64\":\"AP8=\"}"
    );
}

#[test]
fn the_alarm_handler_is_no_method() {
    let desk = now(Desk::start()).unwrap();
    let alarm = |retry| {
        let scheduled_ms = 7;
        now(Facet::alarm(&desk, Alarm { scheduled_ms, retry }))
    };
    assert_eq!(alarm(0).unwrap_err().message(), "set for 7");
    alarm(3).unwrap();
    assert_eq!(desk.secret(), 3);
    assert_eq!(call(&desk, "alarm", "[]").unwrap_err().code(), "no-such-method");
}

#[test]
fn what_children_fetch_is_handed_to_no_method() {
    let desk = now(Desk::start()).unwrap();
    assert_eq!(call(&desk, "outbound", "[]").unwrap_err().code(), "no-such-method");
}

#[test]
fn errors_say_what_was_wrong() {
    let desk = now(Desk::start()).unwrap();
    let error = |method, args| call(&desk, method, args).unwrap_err();
    let unknown = error("secret", "[]");
    assert_eq!(unknown.code(), "no-such-method");
    assert_eq!(
        unknown.message(),
        "no method `secret`; there are: add, mirror, note, calls, parse, bytes"
    );
    let bad = error("add", "[1, \"two\"]");
    assert_eq!(bad.code(), "bad-arguments");
    assert_eq!(
        bad.message(),
        "argument 2 (b) of add: invalid type: string \"two\", expected i64"
    );
    assert_eq!(error("mirror", "[{\"x\": 1}, 0]").code(), "zero");
    assert_eq!(error("parse", "[\"1 x\"]").to_string(), "invalid digit found in string");
    // A stub out of nowhere is no stub.
    #[derive(Deserialize, Debug)]
    struct Holder(#[allow(dead_code)] RemoteStub);
    let forged = Payload::json(&serde_json::json!({ "$stub": 0 }))
        .unwrap()
        .decode::<Holder>();
    assert_eq!(forged.unwrap_err().message(), "no stub 0 came with it");
}
