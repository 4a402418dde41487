//! The system calls that have no safe wrapper. The only `unsafe` of the repository is in this file.
#![expect(unsafe_code, reason = "system calls without a safe wrapper are made here and nowhere else")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::io;
use std::ptr;

use rustix::thread::UnshareFlags;

/// What a call that makes a process returns twice.
pub(super) enum Forked {
    /// In the new process.
    Child,
    /// In the calling process, with the number of the new one.
    Parent(i32),
}

/// Moves the process into new namespaces; for [`UnshareFlags::NEWPID`] the next one that it makes.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: only namespace flags are passed here; what `unshare` may do to memory safety is give threads of one
    // process separate file descriptor tables, and CLONE_FILES is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags - UnshareFlags::FILES) }?;
    Ok(())
}

/// Forks, with the caller's parent as the parent of the new process. The process must have one thread.
pub(super) fn fork_sibling() -> io::Result<Forked> {
    let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack this is fork: the child goes on with a copy of this memory, and as
    // there is one thread, no lock in that copy is held by a thread that is gone. No pointer is passed.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(i32::try_from(pid).unwrap_or(i32::MAX))),
    }
}

/// Forks. The process must have one thread.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: the caller has one thread, so the child may do whatever the parent could.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Replaces the process's program; returns only when that fails.
pub(super) fn exec(program: &CStr, arguments: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const c_char> { list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect() };
    let (arguments, env) = (pointers(arguments), pointers(env));
    // SAFETY: all three are terminated by NUL or null and live until the call returns.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends the process at once, without running anything that was registered for its end.
pub(super) fn exit_now(code: c_int) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default action and unblocks all, as a new program expects.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default action runs no code of ours. Signals that cannot be changed give an error that does
        // not matter.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset_t is valid memory that sigemptyset then initialises; the old mask is not wanted.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Closes every file descriptor from `first` on.
pub(super) fn close_from(first: c_uint) -> io::Result<()> {
    // SAFETY: descriptors that Rust objects own may be closed by this; the callers are about to replace the program
    // or hold no such object from `first` on.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, 0) };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != Some(libc::ENOSYS) {
        return Err(error);
    }
    // Kernels before 5.9.
    for entry in std::fs::read_dir("/proc/self/fd")?.collect::<Vec<_>>() {
        let number = entry?.file_name().to_str().and_then(|name| name.parse::<c_int>().ok());
        if let Some(number) = number.filter(|number| i64::from(*number) >= i64::from(first)) {
            // SAFETY: as above.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes a mount refuse writing or the opening of devices; `recursive` with those below it.
pub(super) fn restrict_mount(mount: &CStr, readonly: bool, no_devices: bool, recursive: bool) -> io::Result<()> {
    const READ_ONLY: u64 = 0x1;
    const NO_DEVICES: u64 = 0x4;
    const AT_RECURSIVE: c_uint = 0x8000;
    const SYS_MOUNT_SETATTR: libc::c_long = 442;
    let attributes = MountAttributes {
        set: if readonly { READ_ONLY } else { 0 } | if no_devices { NO_DEVICES } else { 0 },
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: the path is terminated, the structure is what the kernel expects, its size is passed along, and both
    // live until the call returns.
    let done = unsafe {
        libc::syscall(
            SYS_MOUNT_SETATTR,
            libc::AT_FDCWD,
            mount.as_ptr(),
            if recursive { AT_RECURSIVE } else { 0 },
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has every system call from here on, of this process and its children, pass `program`.
pub(super) fn filter_system_calls(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: pointer and length describe a slice that lives until the call returns; the kernel only reads it.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the builder's keyring for a new, empty one.
pub(super) fn new_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is touched.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<c_char>()) };
    if done >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Switches the loopback interface of the current network namespace on.
pub(super) fn loopback_up(socket: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives until the call returns.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Looks names up in files and by DNS, and loads no library for it, whatever `/etc/nsswitch.conf` says now and later.
pub(super) fn look_up_without_libraries() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
        }
        for (database, services) in [(c"hosts", c"files dns"), (c"passwd", c"files"), (c"group", c"files")] {
            // SAFETY: the C library copies nothing but what these constants, which live for ever, point to.
            unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
        }
    }
}
