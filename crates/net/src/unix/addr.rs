//! Unix addresses on their way between std and socket2.

use std::io;
use std::os::unix::net::SocketAddr;

use socket2::SockAddr;

use crate::addr::invalid;

/// For connect(2).
pub(super) fn to_socket2(addr: &SocketAddr) -> io::Result<SockAddr> {
    if let Some(path) = addr.as_pathname() {
        return SockAddr::unix(path);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = abstract_name::of(addr) {
        return abstract_name::to_socket2(name);
    }
    SockAddr::unix("")
}

/// From accept(2).
pub(super) fn to_std(addr: &SockAddr) -> io::Result<SocketAddr> {
    if let Some(path) = addr.as_pathname() {
        return SocketAddr::from_pathname(path);
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = addr.as_abstract_namespace() {
        return abstract_name::to_std(name);
    }
    if !addr.is_unix() {
        return Err(invalid("file descriptor did not correspond to a Unix socket"));
    }
    // An empty path is what std makes an unnamed address of.
    SocketAddr::from_pathname("")
}

/// Linux' names without a file.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod abstract_name {
    use std::ffi::OsStr;
    use std::io;
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;

    use socket2::SockAddr;

    pub(super) fn of(addr: &SocketAddr) -> Option<&[u8]> {
        addr.as_abstract_name()
    }

    pub(super) fn to_std(name: &[u8]) -> io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(name)
    }

    /// socket2 takes it for a path that begins with a zero byte, as the kernel does.
    pub(super) fn to_socket2(name: &[u8]) -> io::Result<SockAddr> {
        let path = [b"\0", name].concat();
        SockAddr::unix(OsStr::from_bytes(&path))
    }
}
