//! Data that the kernel moves: `sendfile`, `splice`, `io::copy`; pipes that have names; large writes. Whoever takes it is a greenlet of the same thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::ptr;

use greenlet_hub::{sleep, spawn, timeout};

use crate::calls::{said, settle};
use crate::support::{MS, counting, patched, tcp_pair};

/// More than any buffer has room for.
const MUCH: usize = 3_000_000;

fn data() -> Vec<u8> {
    (0..MUCH).map(|n| (n % 251) as u8).collect()
}

fn unnamed_file() -> File {
    // SAFETY: a name that ends with a NUL byte.
    let fd = said(unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) } as isize).unwrap();
    // SAFETY: it is new.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd as i32) }
}

fn file_of(data: &[u8]) -> File {
    let mut file = unnamed_file();
    file.write_all(data).unwrap();
    file.rewind().unwrap();
    file
}

fn all_of(mut source: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    source.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn a_file_is_copied_to_a_socket() {
    patched(|| {
        let (ours, theirs) = tcp_pair();
        let turns = counting();
        let sender = spawn(move || io::copy(&mut file_of(&data()), &mut { ours }));
        let read = all_of(theirs);
        assert!(read == data());
        assert_eq!(sender.join().unwrap().unwrap(), MUCH as u64);
        assert!(turns.get() > 1);
    });
}

#[test]
fn a_pipe_is_copied_to_a_socket_and_back() {
    patched(|| {
        let turns = counting();
        let (reader, mut writer) = io::pipe().unwrap();
        let first = spawn(move || writer.write_all(&data()));
        let (ours, theirs) = tcp_pair();
        let second = spawn(move || io::copy(&mut { reader }, &mut { ours }));
        let (last, writer) = io::pipe().unwrap();
        let third = spawn(move || io::copy(&mut { theirs }, &mut { writer }));
        let read = all_of(last);
        assert!(read == data());
        first.join().unwrap().unwrap();
        assert_eq!(second.join().unwrap().unwrap(), MUCH as u64);
        assert_eq!(third.join().unwrap().unwrap(), MUCH as u64);
        assert!(turns.get() > 1);
    });
}

#[test]
fn a_unix_socket_is_copied_to_a_file_and_to_another_socket() {
    patched(|| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let writer = spawn(move || ours.write_all(&data()));
        let mut file = unnamed_file();
        assert_eq!(io::copy(&mut { theirs }, &mut file).unwrap(), MUCH as u64);
        writer.join().unwrap().unwrap();
        file.rewind().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let copier = spawn(move || io::copy(&mut file, &mut { ours }));
        assert!(all_of(theirs) == data());
        copier.join().unwrap().unwrap();
    });
}

fn splice(from: &impl AsRawFd, to: &impl AsRawFd, len: usize, flags: u32) -> Result<usize, i32> {
    // SAFETY: no offsets.
    said(unsafe { libc::splice(from.as_raw_fd(), ptr::null_mut(), to.as_raw_fd(), ptr::null_mut(), len, flags) })
}

#[test]
fn a_splice_waits_for_either_side_and_gives_what_there_is() {
    patched(|| {
        let (mut ours, theirs) = tcp_pair();
        let (mut reader, writer) = io::pipe().unwrap();
        let turns = counting();
        let late = spawn(move || {
            sleep(10 * MS);
            ours.write_all(b"from a socket").unwrap();
            ours
        });
        // The flag is for the pipe: it waits for the socket.
        assert_eq!(splice(&theirs, &writer, 1000, libc::SPLICE_F_NONBLOCK), Ok(13));
        assert!(turns.get() > 1);
        let mut ours = late.join().unwrap();
        let mut buf = [0; 13];
        reader.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"from a socket");
        assert_eq!(splice(&reader, &theirs, 1000, libc::SPLICE_F_NONBLOCK), Err(libc::EAGAIN));
        // A pipe that is empty, to a socket.
        let mut late = writer.try_clone().unwrap();
        let late = spawn(move || {
            sleep(10 * MS);
            late.write_all(b"from a pipe")
        });
        assert_eq!(splice(&reader, &theirs, 1000, 0), Ok(11));
        late.join().unwrap().unwrap();
        ours.read_exact(&mut buf[..11]).unwrap();
        assert_eq!(&buf[..11], b"from a pipe");
        // A socket's time-out.
        theirs.set_read_timeout(Some(10 * MS)).unwrap();
        assert_eq!(splice(&theirs, &writer, 1000, 0), Err(libc::EAGAIN));
        // One that the user has made non-blocking.
        theirs.set_nonblocking(true).unwrap();
        assert_eq!(splice(&theirs, &writer, 1000, 0), Err(libc::EAGAIN));
        theirs.set_nonblocking(false).unwrap();
        theirs.set_read_timeout(None).unwrap();
        // A kill.
        let splicer = spawn(move || splice(&theirs, &writer, 1000, 0));
        settle();
        splicer.kill_nowait().unwrap();
        settle();
        assert_eq!(splicer.join().unwrap(), Err(libc::ECANCELED));
        drop(ours);
    });
}

#[test]
fn a_sendfile_to_a_full_socket_waits_and_is_interrupted() {
    patched(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let file = file_of(&data());
        let sendfile = |ours: &UnixStream, file: &File| {
            // SAFETY: the offset is the file's own.
            said(unsafe { libc::sendfile(ours.as_raw_fd(), file.as_raw_fd(), ptr::null_mut(), MUCH) })
        };
        let ended = timeout(20 * MS, || {
            loop {
                match sendfile(&ours, &file) {
                    Ok(1..) => {}
                    said => {
                        greenlet_hub::yield_now();
                        return said;
                    }
                }
            }
        });
        assert!(ended.is_err());
        // What has gone is at the file's own offset.
        let mut file = file;
        let gone = file.stream_position().unwrap() as usize;
        assert!(gone < MUCH);
        let rest = spawn(move || {
            while (file.stream_position().unwrap() as usize) < MUCH {
                assert!(matches!(sendfile(&ours, &file), Ok(1..)));
            }
        });
        let mut read = vec![0; MUCH];
        theirs.read_exact(&mut read).unwrap();
        assert!(read == data());
        rest.join().unwrap();
        assert_eq!(theirs.read(&mut read).unwrap(), 0);
    });
}

/// A pipe with a name, which is removed at the end.
struct Fifo(PathBuf);

impl Fifo {
    fn new(name: &str) -> Fifo {
        let path = std::env::temp_dir().join(format!("greenlet-patch-{}-{name}", std::process::id()));
        let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a name that ends with a NUL byte.
        said(unsafe { libc::mkfifo(text.as_ptr(), 0o600) } as isize).unwrap();
        Fifo(path)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_pipe_with_a_name_waits_both_ways() {
    patched(|| {
        let fifo = Fifo::new("both");
        // Opened both ways, it waits for nobody.
        let mut writer = OpenOptions::new().read(true).write(true).open(&fifo.0).unwrap();
        let mut reader = File::open(&fifo.0).unwrap();
        let turns = counting();
        let sender = spawn(move || writer.write_all(&data()));
        let mut read = vec![0; MUCH];
        reader.read_exact(&mut read).unwrap();
        assert!(read == data());
        sender.join().unwrap().unwrap();
        assert!(turns.get() > 1);
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn a_terminals_other_end_is_a_greenlet() {
    patched(|| {
        let (mut ours, mut theirs) = (0, 0);
        let none = ptr::null_mut();
        // SAFETY: there is room for both numbers; a terminal has no name here, and the usual settings.
        let made = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, ptr::null_mut(), ptr::null_mut()) };
        assert_eq!(made, 0);
        // SAFETY: it is new.
        let mut ours: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(ours) };
        // SAFETY: as above.
        let mut theirs: File = unsafe { std::os::fd::FromRawFd::from_raw_fd(theirs) };
        let turns = counting();
        let typist = spawn(move || {
            sleep(10 * MS);
            ours.write_all(b"a line\n").unwrap();
            let mut echo = [0; 8];
            ours.read_exact(&mut echo).unwrap();
            (ours, echo)
        });
        let mut line = [0; 64];
        assert_eq!(theirs.read(&mut line).unwrap(), 7);
        assert_eq!(&line[..7], b"a line\n");
        assert!(turns.get() > 1);
        let (mut ours, echo) = typist.join().unwrap();
        assert_eq!(&echo, b"a line\r\n");
        // More than a terminal has room for.
        let printer = spawn(move || {
            theirs.write_all(&[b'x'; 100_000]).unwrap();
            theirs
        });
        let mut read = vec![0; 100_000];
        ours.read_exact(&mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == b'x'));
        printer.join().unwrap();
    });
}
