//! `facetd:runtime/timers` and its blocking twin. Timers know no deadline (`isolate/deadline.rs` says why).

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, HasSelf};

use crate::bindings::wit::facetd::runtime::{blocking_timers, timers};
use crate::isolate::{FacetState, current_event};

impl timers::Host for FacetState {}

impl timers::HostWithStore<FacetState> for HasSelf<FacetState> {
    async fn sleep(accessor: &Accessor<FacetState, Self>, ms: u32) -> wasmtime::Result<()> {
        let (event, gate) = accessor.with(|mut access| {
            let event = current_event(access.as_context_mut());
            let state = access.get();
            state.alive()?;
            wasmtime::error::Ok((event, state.gate.clone()))
        })?;
        let sleep = async {
            leave_the_guest().await;
            tokio::time::sleep(Duration::from_millis(ms.into())).await;
        };
        gate.wait(event, sleep).await;
        Ok(())
    }
}

/// Waits for nothing, but not in the first poll: that one runs inside the guest, and what is ready there ends no turn.
async fn leave_the_guest() {
    let mut left = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut left, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl blocking_timers::Host for FacetState {
    async fn sleep(&mut self, ms: u32) -> wasmtime::Result<()> {
        self.begin_block().await?;
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
        self.end_block()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_wait_is_never_over_at_its_first_poll() {
        let mut waiting = pin!(leave_the_guest());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        assert!(waiting.as_mut().poll(&mut cx).is_ready());
    }
}
