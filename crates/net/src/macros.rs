//! The methods and traits that all six sockets have in the same words.

/// `try_clone`, `take_error`, `set_nonblocking`.
macro_rules! common_methods {
    ($name:ident) => {
        impl $name {
            /// Duplicates the descriptor: a second handle to the same socket. Never switches.
            ///
            /// As in std, the clones share what is set on either: options, timeouts, and
            /// [`set_nonblocking`](Self::set_nonblocking). A clone may be used on another thread's hub.
            ///
            /// # Errors
            ///
            /// If there is no descriptor left.
            pub fn try_clone(&self) -> io::Result<Self> {
                self.0.try_clone().map(Self)
            }

            /// Takes the error that is pending on the socket (`SO_ERROR`). Never switches.
            ///
            /// # Errors
            ///
            /// If the descriptor is no socket.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.0.std().take_error()
            }

            /// Sets whether calls that would wait fail instead, with `WouldBlock`. Never switches.
            ///
            /// In this mode every call makes its system call. A loop of such calls keeps the thread to itself; between
            /// them, [`wait_readable`](greenlet_hub::wait_readable) or [`yield_now`](greenlet_hub::yield_now) let others
            /// run. Calls that wait already wait on.
            ///
            /// The descriptor itself is always non-blocking.
            ///
            /// # Errors
            ///
            /// None; the type is std's.
            pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.0.set_nonblocking(nonblocking);
                Ok(())
            }
        }
    };
}

/// `set_read_timeout` and its kin.
macro_rules! timeout_methods {
    ($name:ident) => {
        impl $name {
            /// Sets how long a call that reads waits before it fails with `WouldBlock`; `None` for ever. Never switches.
            ///
            /// The time is kept by the hub's timers and shared with clones; the kernel is not told.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a timeout of zero, as in std.
            pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.0.set_read_timeout(timeout)
            }

            /// Sets how long a call that writes waits before it fails with `WouldBlock`; `None` for ever. Never switches.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a timeout of zero, as in std.
            pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.0.set_write_timeout(timeout)
            }

            /// Returns the time that calls which read wait, exactly as it was set (the kernel, and so std, rounds it).
            ///
            /// # Errors
            ///
            /// None; the type is std's.
            pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.0.read_timeout())
            }

            /// Returns the time that calls which write wait.
            ///
            /// # Errors
            ///
            /// None; the type is std's.
            pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.0.write_timeout())
            }
        }
    };
}

/// `Read` and `Write`, by value and by reference, as std has them.
macro_rules! stream_traits {
    ($name:ident) => {
        impl Read for $name {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.read_vectored(bufs)
            }
        }

        impl Write for $name {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.write(buf)
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.0.write_vectored(bufs)
            }

            /// Does nothing: what was written is with the kernel already.
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Read for &$name {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.read(buf)
            }

            fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.read_vectored(bufs)
            }
        }

        impl Write for &$name {
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                self.0.write(buf)
            }

            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.0.write_vectored(bufs)
            }

            /// Does nothing: what was written is with the kernel already.
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

/// `Debug`, and the ways from and to std's type and plain descriptors.
macro_rules! descriptor_traits {
    ($name:ident, $std:ty) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.std().fmt(f)
            }
        }

        /// Makes the descriptor non-blocking, and with it all its duplicates; takes timeouts and the non-blocking mode over.
        impl From<$std> for $name {
            fn from(socket: $std) -> Self {
                Self(Socket::adopt(socket))
            }
        }

        /// Makes the descriptor blocking, and with it all its duplicates, unless `set_nonblocking(true)` was called; sets the
        /// timeouts in the kernel.
        impl From<$name> for $std {
            fn from(socket: $name) -> Self {
                socket.0.release()
            }
        }

        /// As from std's type.
        impl From<OwnedFd> for $name {
            fn from(fd: OwnedFd) -> Self {
                Self::from(<$std>::from(fd))
            }
        }

        /// As into std's type.
        impl From<$name> for OwnedFd {
            fn from(socket: $name) -> Self {
                socket.0.release().into()
            }
        }

        /// The descriptor is non-blocking, and has to stay so.
        impl AsFd for $name {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }

        /// The descriptor is non-blocking, and has to stay so.
        impl AsRawFd for $name {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_fd().as_raw_fd()
            }
        }

        /// As into std's type.
        impl IntoRawFd for $name {
            fn into_raw_fd(self) -> RawFd {
                self.0.release().into_raw_fd()
            }
        }
    };
}

pub(crate) use {common_methods, descriptor_traits, stream_traits, timeout_methods};
