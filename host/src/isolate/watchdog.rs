//! One ticker per engine. Each tick ends an epoch, which is what interrupts guest code; every few ticks it looks for
//! facets that have taken too long or had nothing to do for too long. It stands still while no facet lives. There may be
//! thousands that are idle, and whoever starts one waits for the sweep, so of those it looks at what lies at hand.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc::WeakSender;
use wasmtime::Engine;

use crate::isolate::{EPOCH_TICK_MS, Room};
use crate::live::{Control, Ending, Mail};
use crate::sys::clock;

/// How often limits and idleness are looked at.
const SWEEP_MS: u64 = 50;
/// Of an idle facet it is asked in one of so many sweeps only whether it is gone.
const IDLE_PARTS: usize = 20;
/// A facet's database is closed when it has been idle for this part of the time after which it is evicted (S14).
const CLOSES_AFTER_PART: u64 = 2;

struct Watched {
    control: Arc<Control>,
    mailbox: WeakSender<Mail>,
    room: Arc<Room>,
}

#[derive(Default)]
struct Live {
    watched: Vec<Watched>,
    stopped: bool,
}

/// Watches over all incarnations of a host.
pub(crate) struct Watchdog {
    live: Mutex<Live>,
    changed: Condvar,
}

impl Watchdog {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Arc<Self>> {
        let watchdog = Arc::new(Self {
            live: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = watchdog.clone();
        std::thread::Builder::new()
            .name("facetd-epoch".into())
            .spawn(move || own.run(&engine))?;
        Ok(watchdog)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("nothing panics while it holds this lock")
    }

    pub(crate) fn watch(&self, control: Arc<Control>, mailbox: WeakSender<Mail>, room: Arc<Room>) {
        self.live().watched.push(Watched { control, mailbox, room });
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.live().stopped = true;
        self.changed.notify_one();
    }

    fn run(&self, engine: &Engine) {
        let mut ticks: u64 = 0;
        let mut sweeps: usize = 0;
        loop {
            {
                let mut live = self.live();
                while live.watched.is_empty() && !live.stopped {
                    live = self
                        .changed
                        .wait(live)
                        .expect("nothing panics while it holds this lock");
                }
                if live.stopped && live.watched.is_empty() {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(EPOCH_TICK_MS));
            engine.increment_epoch();
            ticks += 1;
            if ticks.is_multiple_of(SWEEP_MS / EPOCH_TICK_MS) {
                let now_ms = clock::monotonic_ms();
                let mut live = self.live();
                sweeps = sweeps.wrapping_add(1);
                let mut place = sweeps;
                live.watched.retain(|watched| {
                    place = place.wrapping_add(1);
                    watched.look(now_ms, place.is_multiple_of(IDLE_PARTS))
                });
                make_place(&live.watched);
            }
        }
    }
}

/// In each room that is nearly full those that have been idle for longest go.
fn make_place(watched: &[Watched]) {
    /// Since when each is idle.
    type Idle<'a> = Vec<(u64, &'a Watched)>;
    let mut idle: HashMap<*const Room, (usize, Idle<'_>)> = HashMap::new();
    for one in watched {
        let since_ms = one.control.idle_since_ms.load(Ordering::Relaxed);
        for room in one.room.chain().filter(|_| since_ms != 0) {
            let excess = room.excess();
            if excess > 0 {
                let entry = idle.entry(std::ptr::from_ref(room)).or_insert((excess, Vec::new()));
                entry.1.push((since_ms, one));
            }
        }
    }
    for (many, mut idle) in idle.into_values() {
        if many < idle.len() {
            idle.select_nth_unstable_by_key(many, |(since_ms, _)| *since_ms);
            idle.truncate(many);
        }
        idle.into_iter().for_each(|(_, watched)| watched.evict());
    }
}

impl Watched {
    /// False if it needs no watching any more. `closely`: it is asked whether it is gone even if it is idle.
    fn look(&self, now_ms: u64, closely: bool) -> bool {
        let idle_since_ms = self.control.idle_since_ms.load(Ordering::Relaxed);
        let idle_ms = now_ms.saturating_sub(idle_since_ms);
        let rests = idle_since_ms != 0 && idle_ms <= self.control.idle_evict_ms / CLOSES_AFTER_PART;
        if (closely || !rests) && *self.control.gone().borrow() {
            return false;
        }
        let past = |deadline_ms: u64| deadline_ms != 0 && now_ms > deadline_ms;
        // Epochs do not tick in SQLite.
        self.control.interrupt().look(now_ms);
        if past(self.control.wall_deadline_ms.load(Ordering::Relaxed)) {
            self.end("wall", "an event took longer than the facet's wall limit");
        } else if past(self.control.gate_deadline_ms.load(Ordering::Relaxed)) {
            self.end("gate", "the gate of context.block was held for more than 30 seconds");
        } else if past(idle_since_ms) {
            if idle_ms > self.control.idle_evict_ms {
                self.evict();
            } else if idle_ms > self.control.idle_evict_ms / CLOSES_AFTER_PART {
                self.control.close_connection(idle_since_ms);
            }
        }
        true
    }

    fn evict(&self) {
        // Once: the facet sets it again if it is still idle when it has seen the mail.
        self.control.idle_since_ms.store(0, Ordering::Relaxed);
        // A full mailbox or a closed one: it is not idle, or it is on its way out.
        if let Some(mailbox) = self.mailbox.upgrade() {
            let _ = mailbox.try_send(Mail::Evict);
        }
    }

    fn end(&self, code: &'static str, message: &str) {
        if !self.control.is_dead() {
            self.control.end(Ending::Broken {
                code,
                message: message.into(),
            });
        }
    }
}
