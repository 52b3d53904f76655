//! Where facets that compute go on: threads of their own, less urgent than those that answer requests, and slice by slice in
//! turn. The turns go around namespaces, and within each around its objects, so that nobody gets more by having more facets.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Task, Woken, run_one};
use crate::ids::ObjectId;
use crate::isolate::meter;
use crate::sys::clock;

/// Threads at most: those that compute, one for each core, and those that are long in an import.
const THREADS_MAX: usize = 64;
/// How long a thread without work waits for some.
const IDLE: Duration = Duration::from_secs(10);
/// Below the threads that answer requests: those preempt these when they wake up.
const NICE: i32 = 10;
/// So long objects are known whose facets were long in an import, ms.
const KNOWN_MS: u64 = 10_000;
/// So many of them.
const KNOWN_MAX: usize = 4_096;

/// Whose turn it is: a namespace, by the address at which it lies, and an object of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Tenant {
    pub(crate) namespace: usize,
    pub(crate) object: ObjectId,
}

/// The lane of one host.
pub(crate) struct Lane {
    state: Mutex<State>,
    work: Condvar,
    runtime: Handle,
    /// Threads that compute at a time.
    cores: usize,
}

#[derive(Default)]
struct State {
    queue: Ring<usize, Ring<ObjectId, VecDeque<Task>>>,
    threads: usize,
    idle: usize,
    /// Threads in long imports: others compute in their stead.
    away: usize,
    /// Until when these are known, in the milliseconds of the monotonic clock.
    known: HashMap<Tenant, u64>,
}

thread_local! {
    /// The lane that this thread belongs to, and whether it is away in a long import.
    static HERE: RefCell<Option<(Weak<Lane>, bool)>> = const { RefCell::new(None) };
}

impl Lane {
    pub(crate) fn new(runtime: &Handle) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            runtime: runtime.clone(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// A facet of this object was long in an import.
    pub(super) fn remember(&self, tenant: Tenant) {
        let now_ms = clock::monotonic_ms();
        let known = &mut self.state().known;
        if known.len() >= KNOWN_MAX {
            known.retain(|_, until_ms| *until_ms > now_ms);
        }
        if known.len() < KNOWN_MAX {
            known.insert(tenant, now_ms + KNOWN_MS);
        }
    }

    pub(super) fn knows(&self, tenant: Tenant) -> bool {
        let state = self.state();
        let until_ms = state.known.get(&tenant);
        until_ms.is_some_and(|until_ms| *until_ms > clock::monotonic_ms())
    }

    pub(super) fn push(self: &Arc<Self>, task: Task) {
        let tenant = task.metadata().tenant;
        let mut state = self.state();
        state.queue.at(tenant.namespace).at(tenant.object).push_back(task);
        self.attend(&mut state);
    }

    /// Sees to it that somebody comes for what is queued.
    fn attend(self: &Arc<Self>, state: &mut State) {
        if state.queue.is_empty() || state.threads - state.idle - state.away >= self.cores {
            return;
        }
        if state.idle > 0 {
            self.work.notify_one();
        } else if state.threads < THREADS_MAX {
            let lane = self.clone();
            let spawned = std::thread::Builder::new()
                .name("facetd-lane".into())
                .spawn(move || lane.serve());
            match spawned {
                Ok(_) => state.threads += 1,
                Err(error) => {
                    tracing::warn!(%error, "no thread for facets that compute; they wait for those there are")
                }
            }
        }
    }

    fn serve(self: Arc<Self>) {
        // An error means that it is as urgent as the others.
        let _ = rustix::process::nice(NICE);
        let _entered = self.runtime.enter();
        HERE.set(Some((Arc::downgrade(&self), false)));
        let mut state = self.state();
        loop {
            if let Some(task) = state.queue.next() {
                drop(state);
                meter::begin();
                run_one(task, Woken::Elsewhere);
                state = self.state();
                let was_away =
                    HERE.with_borrow_mut(|here| here.as_mut().is_some_and(|here| std::mem::take(&mut here.1)));
                state.away -= usize::from(was_away);
                if was_away && state.threads - state.idle - state.away > self.cores {
                    break;
                }
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self
                .work
                .wait_timeout(state, IDLE)
                .expect("nothing panics while it holds this lock");
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.attend(&mut state);
    }
}

/// This thread will be long in an import: if it is one of a lane, another one computes in its stead. False if it is not.
pub(super) fn leave() -> bool {
    let lane = HERE.with_borrow_mut(|here| {
        let (lane, away) = here.as_mut()?;
        Some((!std::mem::replace(away, true)).then(|| lane.upgrade()))
    });
    match lane {
        None => false,
        Some(left) => {
            if let Some(lane) = left.flatten() {
                let mut state = lane.state();
                state.away += 1;
                lane.attend(&mut state);
            }
            true
        }
    }
}

/// What has turns, one after the other.
trait Turns {
    type Item;
    fn next(&mut self) -> Option<Self::Item>;
    fn is_empty(&self) -> bool;
}

impl<T> Turns for VecDeque<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.pop_front()
    }
    fn is_empty(&self) -> bool {
        VecDeque::is_empty(self)
    }
}

/// A queue for each key; the keys take turns.
struct Ring<K, V> {
    of: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Ring<K, V> {
    fn default() -> Self {
        Self {
            of: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, V: Default> Ring<K, V> {
    fn at(&mut self, key: K) -> &mut V {
        self.of.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            V::default()
        })
    }
}

impl<K: Copy + Eq + Hash, V: Turns> Turns for Ring<K, V> {
    type Item = V::Item;

    fn next(&mut self) -> Option<V::Item> {
        let key = self.order.pop_front()?;
        let queue = self.of.get_mut(&key)?;
        let item = queue.next();
        if queue.is_empty() {
            self.of.remove(&key);
        } else {
            self.order.push_back(key);
        }
        item
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_around_namespaces_and_within_each_around_objects() {
        let mut ring: Ring<char, Ring<u8, VecDeque<u32>>> = Ring::default();
        for item in 0..4 {
            ring.at('a').at(1).push_back(item);
            ring.at('a').at(2).push_back(10 + item);
        }
        ring.at('b').at(1).push_back(20);
        ring.at('b').at(1).push_back(21);
        let mut order = Vec::new();
        while let Some(item) = ring.next() {
            order.push(item);
        }
        assert_eq!(order, [0, 20, 10, 21, 1, 11, 2, 12, 3, 13]);
        assert!(ring.is_empty() && ring.of.is_empty());
    }
}
