//! The memory that SQLite takes for one facet is bounded, and taking it is a moment at which a statement can be stopped:
//! SQLite looks for an interrupt between its instructions only, and one instruction can copy megabytes for hours.
//!
//! SQLite has one allocator for all connections. While a guest's statement runs on a thread, the thread says whose memory
//! it is; every piece of memory remembers that, so that it is given back to the same meter whoever frees it.

#![allow(unsafe_code, reason = "SQLite's C interface where rusqlite has none")]

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use rusqlite::ffi;

use super::interrupt::InterruptCell;

/// Bytes that SQLite may hold for one facet: values, rows, sorters, compiled statements.
pub(crate) const HEAP_BYTES_MAX: usize = 128 << 20;
/// Bytes taken between two looks at whether the facet was stopped.
const LOOK_BYTES: usize = 16 << 20;

/// Before each piece of memory.
#[repr(C)]
struct Header {
    meter: *const Count,
    bytes: usize,
}

const HEADER_BYTES: usize = size_of::<Header>();
const ALIGN: usize = align_of::<Header>();

struct Count {
    /// Bytes of what is not freed yet, and one as long as the meter itself is there. Whoever brings it to zero frees this.
    used: AtomicUsize,
    /// Bytes taken since the last look. One thread takes at a time.
    since_look: AtomicUsize,
    interrupt: Arc<InterruptCell>,
    refused: AtomicU8,
}

/// True if the statement that runs on this thread is to stop.
pub(super) fn is_stopped() -> bool {
    let count = COUNT.get();
    // SAFETY: while the thread names a count, its meter is borrowed.
    !count.is_null() && unsafe { (*count).interrupt.stops_statements() }
}

thread_local! {
    static COUNT: Cell<*const Count> = const { Cell::new(ptr::null()) };
}

/// Why memory was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeapRefusal {
    /// [`HEAP_BYTES_MAX`].
    Full,
    /// The statement was to stop.
    Stopped,
}

/// Counts the memory of one connection.
pub(super) struct Meter(NonNull<Count>);

// SAFETY: all fields of what it leads to are atomics, or are not changed.
unsafe impl Send for Meter {}
// SAFETY: as above.
unsafe impl Sync for Meter {}

impl Meter {
    pub(super) fn new(interrupt: Arc<InterruptCell>) -> Self {
        let count = Box::leak(Box::new(Count {
            used: AtomicUsize::new(1),
            since_look: AtomicUsize::new(0),
            interrupt,
            refused: AtomicU8::new(0),
        }));
        Self(NonNull::from(count))
    }

    fn count(&self) -> &Count {
        // SAFETY: the meter's own one in `used` keeps it there.
        unsafe { self.0.as_ref() }
    }

    /// What SQLite takes on this thread while the guard lives is counted.
    pub(super) fn enter(&self) -> Entered<'_> {
        Entered {
            before: COUNT.replace(self.0.as_ptr()),
            _not_send: PhantomData,
        }
    }

    /// True if the statement that runs has had its time.
    pub(super) fn is_overdue(&self) -> bool {
        self.count().interrupt.is_overdue()
    }

    /// Why memory was refused since this was last asked.
    pub(super) fn take_refusal(&self) -> Option<HeapRefusal> {
        match self.count().refused.swap(0, Ordering::Relaxed) {
            1 => Some(HeapRefusal::Full),
            2 => Some(HeapRefusal::Stopped),
            _ => None,
        }
    }

    /// Bytes that SQLite holds.
    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> usize {
        self.count().used.load(Ordering::Relaxed) - 1
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // SAFETY: the meter gives back its own one, once.
        unsafe { give_back(self.0.as_ptr(), 1) }
    }
}

/// What SQLite takes on this thread while the guard lives is not counted.
pub(super) fn enter_nobodys() -> Entered<'static> {
    Entered {
        before: COUNT.replace(ptr::null()),
        _not_send: PhantomData,
    }
}

/// See [`Meter::enter`].
pub(super) struct Entered<'m> {
    before: *const Count,
    /// The meter lives on, and the guard stays on its thread.
    _not_send: PhantomData<(&'m Meter, *const ())>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        COUNT.set(self.before);
    }
}

impl Count {
    /// Takes `bytes`. False: there are none.
    fn take(&self, bytes: usize) -> bool {
        let looked = self.since_look.load(Ordering::Relaxed) + bytes;
        self.since_look
            .store(if looked > LOOK_BYTES { 0 } else { looked }, Ordering::Relaxed);
        if looked > LOOK_BYTES && self.interrupt.stops_statements() {
            self.refused.store(2, Ordering::Relaxed);
            return false;
        }
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > HEAP_BYTES_MAX {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            self.refused.store(1, Ordering::Relaxed);
            return false;
        }
        true
    }
}

/// # Safety
/// The bytes were taken, and are given back once; nobody uses `count` for them any more.
unsafe fn give_back(count: *const Count, bytes: usize) {
    // SAFETY: what is taken keeps the count there. Whoever is the last sees what all others did before.
    unsafe {
        if (*count).used.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            drop(Box::from_raw(count.cast_mut()));
        }
    }
}

/// Makes SQLite take its memory here. Before anything else is asked of it: later it does not listen, and memory is not
/// bounded. Its own statistics, which cost a lock for each piece, are switched off.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let methods = ffi::sqlite3_mem_methods {
            xMalloc: Some(malloc),
            xFree: Some(free),
            xRealloc: Some(resize),
            xSize: Some(size),
            xRoundup: Some(round_up),
            xInit: Some(begin),
            xShutdown: Some(end),
            pAppData: ptr::null_mut(),
        };
        // SAFETY: both options take what is handed over here; SQLite copies the methods, which are there for ever.
        let rc = unsafe {
            let rc = ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods);
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int);
            rc
        };
        if rc != ffi::SQLITE_OK {
            tracing::warn!("SQLite was used before the host began: what statements take of memory is not bounded");
        }
    });
}

/// Tests open databases in any order, on any thread, some of them without the host: before the first of them runs.
#[cfg(test)]
#[used]
#[unsafe(link_section = ".init_array")]
static INSTALL_FIRST: extern "C" fn() = {
    extern "C" fn first() {
        install();
    }
    first
};

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEADER_BYTES)?, ALIGN).ok()
}

unsafe extern "C" fn malloc(bytes: c_int) -> *mut c_void {
    let (Ok(bytes), count) = (usize::try_from(bytes), COUNT.get()) else {
        return ptr::null_mut();
    };
    let Some(layout) = layout(bytes) else {
        return ptr::null_mut();
    };
    // SAFETY: the layout is not empty, for it holds the header. While the thread names a count, its meter is borrowed.
    unsafe {
        if !count.is_null() && !(*count).take(bytes) {
            return ptr::null_mut();
        }
        let header = alloc(layout).cast::<Header>();
        if header.is_null() {
            if !count.is_null() {
                give_back(count, bytes);
            }
            return ptr::null_mut();
        }
        header.write(Header { meter: count, bytes });
        header.add(1).cast()
    }
}

unsafe extern "C" fn free(memory: *mut c_void) {
    // SAFETY: SQLite's contract of xFree: the memory is one of `malloc` or `resize`, not freed yet, and not null.
    unsafe {
        let header = memory.cast::<Header>().sub(1);
        let Header { meter, bytes } = header.read();
        dealloc(
            header.cast(),
            Layout::from_size_align_unchecked(bytes + HEADER_BYTES, ALIGN),
        );
        if !meter.is_null() {
            give_back(meter, bytes);
        }
    }
}

unsafe extern "C" fn resize(memory: *mut c_void, bytes: c_int) -> *mut c_void {
    let Ok(bytes) = usize::try_from(bytes) else {
        return ptr::null_mut();
    };
    // SAFETY: SQLite's contract of xRealloc, as for xFree. Where null is answered the memory stays as it is.
    unsafe {
        let header = memory.cast::<Header>().sub(1);
        let Header { meter, bytes: before } = header.read();
        let (Some(_), grown) = (layout(bytes), bytes.saturating_sub(before)) else {
            return ptr::null_mut();
        };
        if !meter.is_null() && grown > 0 && !(*meter).take(grown) {
            return ptr::null_mut();
        }
        let old = Layout::from_size_align_unchecked(before + HEADER_BYTES, ALIGN);
        let moved = realloc(header.cast(), old, bytes + HEADER_BYTES).cast::<Header>();
        if moved.is_null() {
            if !meter.is_null() && grown > 0 {
                give_back(meter, grown);
            }
            return ptr::null_mut();
        }
        (*moved).bytes = bytes;
        if !meter.is_null() && before > bytes {
            give_back(meter, before - bytes);
        }
        moved.add(1).cast()
    }
}

unsafe extern "C" fn size(memory: *mut c_void) -> c_int {
    if memory.is_null() {
        return 0;
    }
    // SAFETY: SQLite's contract of xSize, as for xFree.
    let bytes = unsafe { (*memory.cast::<Header>().sub(1)).bytes };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}

#[cfg(test)]
mod tests;
