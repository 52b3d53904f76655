//! What belongs to the event that runs. Events interleave where they wait, so it is put in place at every poll.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

thread_local! {
    static BADGE: RefCell<Rc<str>> = RefCell::new(Rc::from(""));
}

/// The badge of the call that runs; empty for calls from outside, HTTP requests and the start.
pub(crate) fn badge() -> Rc<str> {
    BADGE.with_borrow(Rc::clone)
}

/// Runs `future` as (part of) the event with that badge.
pub(crate) async fn with_badge<F: Future>(badge: Rc<str>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let outer = BADGE.replace(badge.clone());
        let poll = future.as_mut().poll(cx);
        BADGE.set(outer);
        poll
    })
    .await
}

/// Goes on with `future` beside this event, and after its answer if need be. The facet counts as busy until it ends.
///
/// It runs no earlier than at the next point where this event waits or answers.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    wit_bindgen::spawn_local(with_badge(badge(), future));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn interleaved_events_keep_their_badges() {
        let event = |name: &'static str| {
            let mut waited = false;
            Box::pin(with_badge(
                Rc::from(name),
                poll_fn(move |_| {
                    assert_eq!(&*badge(), name);
                    if std::mem::replace(&mut waited, true) {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                }),
            ))
        };
        let mut cx = Context::from_waker(Waker::noop());
        let (mut a, mut b) = (event("a"), event("b"));
        assert!(a.as_mut().poll(&mut cx).is_pending() && b.as_mut().poll(&mut cx).is_pending());
        assert_eq!(&*badge(), "");
        assert!(a.as_mut().poll(&mut cx).is_ready() && b.as_mut().poll(&mut cx).is_ready());
    }
}
