//! What waits for the writer is bounded, in memory and in room on disk, and both are set aside before a COMMIT: what has
//! been committed can always be queued.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Lsn;
use super::batch::{BLOCK_BYTES, BODY_BYTES_MAX};
use super::segment::Segment;
use super::unit::Encoded;
use crate::ids::ObjectId;
use crate::sys::clock;

/// Bytes of units that wait for the writer, encoded. COMMITs wait beyond it.
pub(super) const QUEUE_BYTES_MAX: u64 = 64 << 20;
/// Units that are durable and whose files do not show them yet. COMMITs wait beyond it.
const UNSETTLED_UNITS_MAX: u64 = 65_536;
/// How long a COMMIT waits for room before it is refused.
const RESERVE_WAIT_MS: u64 = 5_000;
/// How long the writer waits for a segment, with committed units in its hand, before the journal fails: a start recovers,
/// waiting does not.
const SPARE_WAIT: Duration = Duration::from_secs(if cfg!(test) { 10 } else { 30 });
/// Room that only deletes may use, which set nothing aside: a full journal must still take them.
const DELETES_BYTES: u64 = 4 << 20;
/// What a unit takes beside its pages: its message, and the rest of a block.
const UNIT_EXTRA_BYTES: u64 = 2 * BLOCK_BYTES as u64;
/// Room at the end of a segment into which the next batch may not fit.
pub(super) const WASTE_BYTES: u64 = (BODY_BYTES_MAX + 3 * BLOCK_BYTES) as u64;

/// A journal that has been full for so long is not one that is about to have room.
const FULL_TROUBLES: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 30 });

/// There is no room in the journal, now or for good; and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct JournalFull(pub(crate) Arc<str>);

/// What is queued and how much room there is.
pub(super) struct Queue {
    state: Mutex<State>,
    /// A unit was queued, or the journal closes.
    arrived: Condvar,
    /// There may be room, or there will never be.
    room: Condvar,
}

pub(super) struct State {
    units: VecDeque<(Lsn, Encoded)>,
    /// The number that was given last.
    last: Lsn,
    closing: bool,
    failed: Option<Arc<str>>,
    queued_bytes: u64,
    reserved_bytes: u64,
    unsettled: u64,
    /// Room for batches in the segment that is written.
    pub(super) segment_bytes: u64,
    /// Files that can become segments.
    pub(super) spares: Vec<Spare>,
    /// Why there cannot be more room now.
    pub(super) full: Option<Arc<str>>,
    /// Since when.
    full_since: Option<Instant>,
    /// Somebody waits for room.
    pub(super) wanted: bool,
    /// How far the writer is with what is committed.
    pub(super) writer: Writing,
    /// Objects whose files cannot be written, and why.
    stuck: BTreeMap<ObjectId, Arc<str>>,
    /// The same one has held the oldest segment for long.
    held: bool,
    /// The number of the oldest segment that is needed, and what of that a batch says.
    pub(super) oldest: u64,
    pub(super) oldest_written: u64,
}

/// A file that can become a segment.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Spare {
    /// What can be set aside of it: any batch may be the one that does not fit any more.
    fn usable_bytes(&self) -> u64 {
        self.bytes.saturating_sub(WASTE_BYTES)
    }
}

/// How far the writer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Writing {
    /// It writes, or has nothing to write.
    Goes,
    /// It waits for a segment. `can_say`: there is a block for a batch without units.
    Waits { can_say: bool },
    /// It has written everything that there will ever be.
    Ended,
}

/// What the writer has got.
pub(super) enum Room {
    /// The next segment.
    Spare(PathBuf),
    /// Nothing yet: it must say first which segment is the oldest, so that one can be let go.
    ToSay,
}

/// Room in the journal, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    queue: Option<Arc<Queue>>,
    bytes: u64,
}

impl Reservation {
    /// For a journal that does not count.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { queue: None, bytes: 0 }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.lock().reserved_bytes -= self.bytes;
            queue.room.notify_all();
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    pub(super) fn new(last: Lsn) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                units: VecDeque::new(),
                last,
                closing: false,
                failed: None,
                queued_bytes: 0,
                reserved_bytes: 0,
                unsettled: 0,
                segment_bytes: 0,
                spares: Vec::new(),
                full: None,
                full_since: None,
                wanted: false,
                writer: Writing::Goes,
                stuck: BTreeMap::new(),
                held: false,
                oldest: 0,
                oldest_written: 0,
            }),
            arrived: Condvar::new(),
            room: Condvar::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets room aside. `ask` is called while there is not enough on disk.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64, ask: impl Fn()) -> Result<Reservation, JournalFull> {
        let bytes = bytes + UNIT_EXTRA_BYTES;
        let deadline = clock::now() + Duration::from_millis(RESERVE_WAIT_MS);
        let mut state = self.lock();
        loop {
            if let Some(why) = &state.failed {
                let why = format!("the journal has failed, and the host stops: {why}");
                return Err(JournalFull(why.into()));
            }
            let fits = state.has_memory(bytes) && state.unsettled < UNSETTLED_UNITS_MAX;
            if fits && state.has_room(bytes) {
                state.reserved_bytes += bytes;
                return Ok(Reservation {
                    queue: Some(self.clone()),
                    bytes,
                });
            }
            if fits && !std::mem::replace(&mut state.wanted, true) {
                ask();
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                let why = state.full.clone().unwrap_or_else(|| {
                    format!("it had no room for {bytes} bytes within {RESERVE_WAIT_MS} ms; the disk is too slow").into()
                });
                return Err(JournalFull(format!("the journal is full: {why}").into()));
            }
            state = self
                .room
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sets room aside if there is some now, and nothing has to wait for it.
    pub(super) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let bytes = bytes + UNIT_EXTRA_BYTES;
        let mut state = self.lock();
        let fits = state.failed.is_none() && state.has_memory(bytes) && state.unsettled < UNSETTLED_UNITS_MAX;
        if !fits || !state.has_room(bytes) {
            return None;
        }
        state.reserved_bytes += bytes;
        Some(Reservation {
            queue: Some(self.clone()),
            bytes,
        })
    }

    /// Queues a unit; `numbered` is told its number before the writer can see it.
    pub(super) fn push(&self, unit: Encoded, numbered: impl FnOnce(Lsn, &Encoded)) -> Lsn {
        let pushed = self.push_if(unit, || true, numbered);
        pushed.expect("nothing is asked first")
    }

    /// The same if `holds`, which is asked when no other unit can come before this one any more.
    pub(super) fn push_if(
        &self,
        unit: Encoded,
        holds: impl FnOnce() -> bool,
        numbered: impl FnOnce(Lsn, &Encoded),
    ) -> Option<Lsn> {
        let mut unit = unit;
        let reservations = std::mem::take(&mut unit.reservations);
        let lsn = {
            let mut state = self.lock();
            if !holds() {
                drop(state);
                return None;
            }
            let lsn = state.last.next();
            state.last = lsn;
            // After the end numbers are given still, and never become durable: what they stand for must not be forgotten, or
            // it would be taken for what is durable.
            numbered(lsn, &unit);
            if state.failed.is_none() && !state.closing {
                state.queued_bytes += unit.bytes();
                state.unsettled += 1;
                state.units.push_back((lsn, unit));
                self.arrived.notify_one();
            }
            lsn
        };
        drop(reservations);
        Some(lsn)
    }

    /// More room is needed than can be set aside now, by somebody who asks again.
    pub(super) fn want(&self) {
        self.lock().wanted = true;
    }

    /// Waits for units and takes all; none when the journal is closed and everything is taken. No units at all: a batch must say
    /// which segment is the oldest now. `gather` says whether more are waited for when there is one.
    pub(super) fn take(&self, gather: impl Fn() -> bool, gather_max: Duration) -> Option<VecDeque<(Lsn, Encoded)>> {
        let mut state = self.lock();
        while state.units.is_empty() {
            if state.failed.is_some() {
                return None;
            }
            if state.oldest_written < state.oldest {
                return Some(VecDeque::new());
            }
            if state.closing {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let deadline = clock::now() + gather_max;
        while gather() && !state.closing {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                break;
            }
            state = self
                .arrived
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Some(std::mem::take(&mut state.units))
    }

    /// Segments below this number are not needed any more. Waits until a batch says so: whoever finds the journal without them
    /// must know that they were let go. False if the journal has failed or is at its end, or has no room for that batch: it comes
    /// with the next segment.
    pub(super) fn let_go(&self, oldest: u64) -> bool {
        let mut state = self.lock();
        state.oldest = oldest;
        self.arrived.notify_one();
        self.room.notify_all();
        while state.oldest_written < oldest {
            match state.writer {
                _ if state.failed.is_some() => return false,
                Writing::Waits { can_say: false } | Writing::Ended => return false,
                Writing::Goes | Writing::Waits { can_say: true } => {}
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// What batches say from now on.
    pub(super) fn oldest(&self) -> u64 {
        self.lock().oldest
    }

    /// What has come since, without waiting.
    pub(super) fn take_more(&self) -> VecDeque<(Lsn, Encoded)> {
        std::mem::take(&mut self.lock().units)
    }

    /// The writer has written `bytes` of units in a batch that names the `oldest` segment, and there is `segment_bytes` of room
    /// left in its own.
    pub(super) fn written(&self, bytes: u64, oldest: u64, segment_bytes: u64) {
        let mut state = self.lock();
        state.oldest_written = oldest;
        state.queued_bytes -= bytes;
        state.segment_bytes = segment_bytes;
        drop(state);
        self.room.notify_all();
    }

    /// So many units are shown by files.
    pub(super) fn settled(&self, units: u64) {
        self.lock().unsettled -= units;
        self.room.notify_all();
    }

    /// A spare for the writer; waits until there is one, but not for ever: what it has in its hand is committed, and nobody
    /// hears of anything until it is written. The shortest that has `room` for all that is to be written next, or the longest.
    /// `can_say`: it could write which segment is the oldest.
    pub(super) fn spare(&self, room: u64, can_say: bool, ask: impl Fn()) -> io::Result<Room> {
        let deadline = clock::now() + SPARE_WAIT;
        let mut state = self.lock();
        loop {
            if let Some(spare) = state.take_spare(room) {
                state.writer = Writing::Goes;
                return Ok(Room::Spare(spare.path));
            }
            if can_say && state.oldest_written < state.oldest {
                return Ok(Room::ToSay);
            }
            if state.failed.is_some() {
                return Err(io::Error::other("it was failed"));
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                let why = state.full.as_deref().unwrap_or("nothing of it could be released");
                let seconds = SPARE_WAIT.as_secs();
                return Err(io::Error::other(format!(
                    "what is committed waited {seconds} s for room in it: {why}. The next start recovers"
                )));
            }
            state.writer = Writing::Waits { can_say };
            self.room.notify_all();
            if !std::mem::replace(&mut state.wanted, true) {
                ask();
            }
            state = self
                .room
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// There is more room on disk.
    pub(super) fn add_room(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        add(&mut state);
        state.full = None;
        state.full_since = None;
        // Whoever needs more still asks again.
        state.wanted = false;
        drop(state);
        self.room.notify_all();
    }

    /// There cannot be more room now. Nobody is woken: who waits goes on until the time is up.
    pub(super) fn set_full(&self, why: Arc<str>) {
        let mut state = self.lock();
        state.full_since.get_or_insert_with(clock::now);
        state.full = Some(why);
    }

    pub(super) fn set_stuck(&self, stuck: BTreeMap<ObjectId, Arc<str>>) {
        self.lock().stuck = stuck;
    }

    pub(super) fn stuck(&self, object: ObjectId) -> Option<Arc<str>> {
        self.lock().stuck.get(&object).cloned()
    }

    pub(super) fn set_held(&self, held: bool) {
        self.lock().held = held;
    }

    /// Why commits are refused for good, or have been for long.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.lock();
        if state.failed.is_some() {
            return Some("the journal has failed, and the host stops".to_owned());
        }
        if state.held {
            return Some("the journal fills, and has been held by one database or object for 10 minutes".to_owned());
        }
        let full = clock::now().saturating_duration_since(state.full_since?);
        (full >= FULL_TROUBLES).then(|| format!("the journal has been full for {} s", full.as_secs()))
    }

    /// True if a COMMIT may have to wait.
    pub(super) fn is_tight(&self) -> bool {
        let state = self.lock();
        let bytes = QUEUE_BYTES_MAX / 2;
        state.unsettled > UNSETTLED_UNITS_MAX / 2 || !state.has_memory(bytes) || state.wanted || state.failed.is_some()
    }

    /// Nobody writes any more.
    pub(super) fn ended(&self) {
        self.lock().writer = Writing::Ended;
        self.room.notify_all();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().failed.is_some()
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.arrived.notify_all();
    }

    pub(super) fn fail(&self, why: &str) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| why.into());
        state.units.clear();
        drop(state);
        self.arrived.notify_all();
        self.room.notify_all();
    }

    pub(super) fn last(&self) -> Lsn {
        self.lock().last
    }
}

impl State {
    fn take_spare(&mut self, room: u64) -> Option<Spare> {
        let lengths = || self.spares.iter().map(|spare| spare.bytes).enumerate();
        let fits = lengths().filter(|(_, bytes)| Segment::room_of(*bytes) >= room);
        let best = fits.min_by_key(|(_, bytes)| *bytes);
        let (at, _) = best.or_else(|| lengths().max_by_key(|(_, bytes)| *bytes))?;
        Some(self.spares.swap_remove(at))
    }

    fn has_memory(&self, bytes: u64) -> bool {
        // One that takes much need not wait until all others have gone: it goes beyond the limit by its length, alone.
        self.queued_bytes + self.reserved_bytes + bytes.min(QUEUE_BYTES_MAX / 2) <= QUEUE_BYTES_MAX
    }

    fn has_room(&self, bytes: u64) -> bool {
        let spares: u64 = self.spares.iter().map(Spare::usable_bytes).sum();
        let room = self.segment_bytes.saturating_sub(WASTE_BYTES) + spares;
        self.queued_bytes + self.reserved_bytes + bytes + DELETES_BYTES <= room
    }
}

impl Encoded {
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }
}
