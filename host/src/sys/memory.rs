//! What facets gave back goes back to the system, as far as the allocator can tell. glibc's own idea of speed is to keep it:
//! eight arenas for each core, each with holes, and blocks of up to 32 MiB in them once one such block was freed.

#![allow(unsafe_code, reason = "calls of glibc that nothing safe has")]

/// Blocks of this length and more are mapped by themselves, and unmapped when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BYTES_MIN: libc::c_int = 512 << 10;
/// What an arena may keep at its end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES_MAX: libc::c_int = 1 << 20;
/// More threads than these share arenas.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_PER_CORE: usize = 2;

/// What is free inside the arenas, page by page. Takes milliseconds, and for a part of them whoever allocates waits.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: free memory only; glibc takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// For a process that serves; once, before it has threads. Elsewhere than on glibc it does nothing.
pub(crate) fn bound_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = libc::c_int::try_from(cores * ARENAS_PER_CORE).unwrap_or(libc::c_int::MAX);
        // SAFETY: plain numbers; whatever glibc makes of them, no memory that is in use is touched.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
            libc::mallopt(libc::M_ARENA_MAX, arenas);
        }
    }
}
