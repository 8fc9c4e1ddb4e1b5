//! What std's documentation shows of `std::os::unix::net` and of pipes, in both worlds.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::MS;
use crate::worlds::{in_both_worlds, pause};

/// A name for a socket, which is removed at the end.
struct Name(PathBuf);

impl Name {
    fn new() -> Name {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Name(std::env::temp_dir().join(format!("greenlet-patch-std-{}-{number}", std::process::id())))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

in_both_worlds! {
    fn a_named_socket_takes_connections() {
        let name = Name::new();
        let listener = UnixListener::bind(&name.0).unwrap();
        let path = name.0.clone();
        let client = spawn(move || {
            pause();
            let mut stream = UnixStream::connect(&path).unwrap();
            assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*path));
            stream.write_all(b"hello").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let (mut stream, from) = listener.accept().unwrap();
        assert!(from.is_unnamed());
        let mut text = [0; 5];
        stream.read_exact(&mut text).unwrap();
        pause();
        stream.write_all(&text).unwrap();
        drop(stream);
        assert_eq!(client.join().unwrap(), "hello");
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(listener.take_error().unwrap().is_none());
    }

    fn a_full_backlog_is_waited_for() {
        let name = Name::new();
        let listener = UnixListener::bind(&name.0).unwrap();
        // SAFETY: plain numbers; it changes the backlog.
        assert_eq!(unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&listener), 0) }, 0);
        let clients = Vec::from_iter((0..5).map(|_| {
            let path = name.0.clone();
            spawn(move || UnixStream::connect(path).unwrap().write_all(b"x").unwrap())
        }));
        pause();
        for stream in listener.incoming().take(5) {
            assert_eq!(stream.unwrap().read(&mut [0; 2]).unwrap(), 1);
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        drop(listener);
        assert_eq!(UnixStream::connect(&name.0).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        pause();
    }

    fn a_pair_talks_both_ways_at_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        const MUCH: usize = 1_000_000;
        let twin = ours.try_clone().unwrap();
        let writer = spawn(move || { &twin }.write_all(&vec![1; MUCH]).unwrap());
        let twin = theirs.try_clone().unwrap();
        let other = spawn(move || { &twin }.write_all(&vec![2; MUCH]).unwrap());
        let reader = spawn(move || {
            let mut read = vec![0; MUCH];
            { &theirs }.read_exact(&mut read).unwrap();
            assert!(read.iter().all(|&byte| byte == 1));
        });
        let mut read = vec![0; MUCH];
        { &ours }.read_exact(&mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 2));
        writer.join().unwrap();
        other.join().unwrap();
        reader.join().unwrap();
    }

    fn streams_have_time_outs_and_ends() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(10 * MS)).unwrap();
        assert_eq!({ &ours }.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        ours.set_read_timeout(None).unwrap();
        let other = spawn(move || {
            pause();
            theirs.shutdown(Shutdown::Write).unwrap();
            theirs
        });
        assert_eq!({ &ours }.read(&mut [0; 8]).unwrap(), 0);
        drop(other.join().unwrap());
        assert_eq!({ &ours }.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    fn datagrams_of_a_name_and_of_a_pair() {
        let name = Name::new();
        let server = UnixDatagram::bind(&name.0).unwrap();
        let path = name.0.clone();
        let client = spawn(move || {
            let socket = UnixDatagram::unbound().unwrap();
            pause();
            assert_eq!(socket.send_to(b"to a name", &path).unwrap(), 9);
            socket.connect(&path).unwrap();
            assert_eq!(socket.send(b"connected").unwrap(), 9);
        });
        let mut buf = [0; 16];
        let (len, from) = server.recv_from(&mut buf).unwrap();
        assert!(&buf[..len] == b"to a name" && from.is_unnamed());
        assert_eq!(server.recv(&mut buf).unwrap(), 9);
        client.join().unwrap();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let other = spawn(move || {
            pause();
            theirs.send(b"pair").unwrap();
            theirs
        });
        assert_eq!(ours.recv(&mut buf).unwrap(), 4);
        drop(other.join().unwrap());
        assert_eq!(ours.send(b"x").unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    fn a_pipe_waits_at_both_ends() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut twin = writer.try_clone().unwrap();
        let first = spawn(move || writer.write_all(&vec![1; 300_000]).unwrap());
        let second = spawn(move || twin.write_all(&vec![1; 300_000]).unwrap());
        pause();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), 600_000);
        first.join().unwrap();
        second.join().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
