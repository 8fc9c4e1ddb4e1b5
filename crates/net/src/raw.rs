//! `FromRawFd`, the one trait that cannot be implemented without `unsafe`.

#![allow(unsafe_code, reason = "the trait's method is unsafe, and so is taking possession of a number")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

macro_rules! from_raw_fd {
    ($($name:ident),*) => {$(
        /// Makes the descriptor non-blocking, and with it all its duplicates.
        impl FromRawFd for $name {
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: the caller promises what `OwnedFd` asks for: an open descriptor that nobody else closes.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }
    )*};
}

from_raw_fd!(TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream);
