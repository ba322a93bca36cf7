//! What a daemon keeps of the machine's memory while it has nothing to do.
//!
//! Reading a thousand DAG files, or moving a table, leaves the C library with freed memory that it holds back, and the
//! start leaves tens of megabytes of the program mapped that are never looked at again. Neither has a safe interface, so
//! this room alone may call what the compiler cannot check. Elsewhere than on Linux it does nothing; the allocator's part
//! needs the GNU C library.

#[cfg(target_os = "linux")]
mod program;

/// How many arenas the allocator may make. It would make eight for each core, and keep a part of each for ever.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;

/// Lets all threads share a few arenas of the allocator. To be called before there is a second thread.
pub fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library's allocator has no other interface")]
    // SAFETY: mallopt takes two numbers and changes settings of the allocator under its own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Gives the kernel what is not in use: memory that was freed, and pages of the program, which come back by themselves
/// when they are needed. Takes about a millisecond.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the C library's allocator has no other interface")]
    // SAFETY: malloc_trim takes a number, locks each arena in turn, and touches only memory that nobody holds.
    unsafe {
        libc::malloc_trim(0);
    }
    #[cfg(target_os = "linux")]
    program::unmap();
}
