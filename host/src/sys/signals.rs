//! A write beyond the process's limit on the size of files (`ulimit -f`) is an error like that of a full disk, and not the end
//! of the host.

#![allow(unsafe_code, reason = "nothing safe sets what a signal does")]

/// For a process that writes databases; once, at its start.
pub(crate) fn survive_file_limit() {
    // SAFETY: no handler is installed that could run at a bad moment; the signal is passed over.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
