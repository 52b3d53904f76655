//! A stub is the only way to reach another facet. Calls to one target enter it in the order in which they were made, and
//! leave when the turn that made them ends.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::facetd::runtime::calls;
use crate::bindings::facetd::runtime::types::{Answer as RawAnswer, Stub as RawStub};
use crate::error::{Payload, Result};
use crate::json;

/// The capability to call one facet or object.
///
/// Cloning is cheap and makes no new handle in the host. A stub that is an argument or part of an answer is sent as a
/// duplicate: the sender keeps its own.
#[derive(Clone, Debug)]
pub struct Stub {
    raw: Rc<RawStub>,
    timeout: Option<Duration>,
}

/// What a method answers: a value, and stubs that the caller owns from then on.
#[derive(Debug)]
pub struct Answer {
    /// The value, usually JSON.
    pub value: Payload,
    /// Stubs that came along.
    pub stubs: Vec<Stub>,
}

impl Answer {
    /// A value as JSON, with the stubs inside it.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let (value, stubs) = json::encode(value)?;
        Ok(Answer {
            value,
            stubs: stubs.into_iter().map(Stub::from_raw).collect(),
        })
    }

    /// Reads the value as JSON, with the stubs inside it.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T> {
        let stubs = self.stubs.into_iter().map(Stub::into_raw).collect();
        json::with_stubs(stubs, || self.value.decode())
    }
}

impl From<RawAnswer> for Answer {
    fn from(answer: RawAnswer) -> Self {
        Answer {
            value: answer.value,
            stubs: answer.stubs.into_iter().map(Stub::from_raw).collect(),
        }
    }
}

impl From<Answer> for RawAnswer {
    fn from(answer: Answer) -> Self {
        RawAnswer {
            value: answer.value,
            stubs: answer.stubs.into_iter().map(Stub::into_raw).collect(),
        }
    }
}

impl Stub {
    /// Calls `method` with a tuple or slice of arguments, as JSON, and reads the answer: `stub.call("add", &(1, 2))`.
    /// For no arguments pass [`NO_ARGS`].
    pub async fn call<R: DeserializeOwned>(&self, method: &str, args: &(impl Serialize + ?Sized)) -> Result<R> {
        let (args, stubs) = json::encode(args)?;
        let stubs = stubs.into_iter().map(Stub::from_raw).collect();
        self.call_raw(method, args, stubs).await?.decode()
    }

    /// The same stub, whose calls fail with `deadline` after that time. That ends the waiting, not what the callee does.
    pub fn with_timeout(&self, timeout: Duration) -> Stub {
        Stub {
            raw: self.raw.clone(),
            timeout: Some(timeout),
        }
    }

    /// Calls `method` with a payload and stubs as they are.
    pub async fn call_raw(&self, method: &str, args: Payload, stubs: Vec<Stub>) -> Result<Answer> {
        send(self.clone(), method.to_owned(), args, stubs).await
    }

    /// Makes the call now, in order with the others, without waiting for its answer. The call goes on even if the
    /// [`Pending`] is dropped or the event that made it has answered.
    pub fn start(&self, method: &str, args: Payload, stubs: Vec<Stub>) -> Pending {
        let mut call = Box::pin(send(self.clone(), method.to_owned(), args, stubs));
        let state = Rc::new(RefCell::new(State {
            answer: None,
            waker: None,
        }));
        // Polled once here, because a spawned task first runs when this one waits: a call made in between would overtake.
        match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => state.borrow_mut().answer = Some(answer),
            Poll::Pending => {
                let state = state.clone();
                crate::spawn(async move {
                    let answer = call.await;
                    let waker = {
                        let mut state = state.borrow_mut();
                        state.answer = Some(answer);
                        state.waker.take()
                    };
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                });
            }
        }
        Pending(state)
    }

    /// True for a stub made by [`objects`](crate::objects), false for one of a facet.
    pub fn is_object(&self) -> bool {
        self.raw.is_object()
    }

    /// The same capability as a handle of its own.
    pub fn dup(&self) -> Stub {
        Stub::from_raw(self.raw.dup())
    }

    pub(crate) fn from_raw(raw: RawStub) -> Self {
        Stub {
            raw: Rc::new(raw),
            timeout: None,
        }
    }

    pub(crate) fn raw(&self) -> &RawStub {
        &self.raw
    }

    /// The handle to give away: this one if nobody else holds it, else a duplicate.
    pub(crate) fn into_raw(self) -> RawStub {
        Rc::try_unwrap(self.raw).unwrap_or_else(|shared| shared.dup())
    }
}

/// The argument list of a method that takes none: `[]`.
pub const NO_ARGS: &[(); 0] = &[];

async fn send(to: Stub, method: String, args: Payload, stubs: Vec<Stub>) -> Result<Answer> {
    let stubs = stubs.into_iter().map(Stub::into_raw).collect();
    let timeout = to.timeout.map(crate::environment::whole_ms);
    Ok(calls::call(to.raw(), method, args, stubs, timeout).await?.into())
}

struct State {
    answer: Option<Result<Answer>>,
    waker: Option<Waker>,
}

/// A call under way; await it for the answer, in the event that made it or in another one.
#[must_use = "await it for the answer, or drop it explicitly to forget the answer"]
pub struct Pending(Rc<RefCell<State>>);

impl Pending {
    /// True once the answer is there.
    pub fn is_done(&self) -> bool {
        self.0.borrow().answer.is_some()
    }
}

impl Future for Pending {
    type Output = Result<Answer>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.borrow_mut();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Waits for all of them; answers in the order of the arguments. Calls made one by one with `await` would run one after
/// the other.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        let mut all = true;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}
