//! A bell that facets ring and tests wait for, so that no test has to sleep: once rung, a name stays rung for as long as
//! the facet runs. Nothing is stored.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use facetd_sdk::prelude::*;

#[derive(Default)]
pub struct Bell {
    rung: RefCell<BTreeSet<String>>,
    waiting: RefCell<BTreeMap<String, Vec<Waker>>>,
}

#[facet]
impl Bell {
    /// Lets everybody go on who waits for `name`, now or later.
    pub fn ring(&self, name: String) {
        let waiting = self.waiting.borrow_mut().remove(&name);
        self.rung.borrow_mut().insert(name);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// This class has no alarm handler: refused.
    pub fn set_alarm(&self) -> Result<()> {
        alarms::set_in(std::time::Duration::ZERO)
    }

    /// Has `name` been rung?
    pub fn rung(&self, name: String) -> bool {
        self.rung.borrow().contains(&name)
    }

    /// Answers when `name` has been rung.
    pub async fn wait(&self, name: String) {
        poll_fn(|cx| {
            if self.rung.borrow().contains(&name) {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            waiting.entry(name.clone()).or_default().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Rings `name` and answers when `name-go` has been rung: whoever calls this is seen to wait, for as long as wished.
    pub async fn hold(&self, name: String) {
        let go = format!("{name}-go");
        self.ring(name);
        self.wait(go).await;
    }
}
