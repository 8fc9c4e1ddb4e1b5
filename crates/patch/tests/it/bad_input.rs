//! What the kernel refuses is refused in the same words, in a greenlet and on a plain thread.

use std::ffi::c_void;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::{io, mem, ptr, thread};

use greenlet_hub::{spawn, yield_now};
use libc::{c_int, iovec, msghdr};

use crate::calls::{Said, said};
use crate::support::{MS, patched_alone};

/// Where nothing is.
const NOWHERE: usize = 8;
const BEYOND: usize = usize::MAX - 4095;

/// What one call says, by its name.
type Answers = Vec<(String, Said)>;

/// Descriptors of each kind; they are there for all.
struct Kinds {
    stream: UnixStream,
    other: UnixStream,
    datagram: UnixDatagram,
    udp: UdpSocket,
    listener: TcpListener,
    reader: io::PipeReader,
    writer: io::PipeWriter,
    file: std::fs::File,
    unconnected: c_int,
}

impl Kinds {
    fn new() -> Kinds {
        let (stream, other) = UnixStream::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(MS)).unwrap();
        stream.set_read_timeout(Some(MS)).unwrap();
        Kinds {
            stream,
            other,
            datagram: UnixDatagram::unbound().unwrap(),
            udp,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            reader,
            writer,
            file: std::fs::File::open("/proc/self/exe").unwrap(),
            // SAFETY: plain numbers.
            unconnected: unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0) },
        }
    }

    fn all(&self) -> [(&'static str, c_int); 12] {
        [
            ("a stream", self.stream.as_raw_fd()),
            ("its other end", self.other.as_raw_fd()),
            ("a datagram socket", self.datagram.as_raw_fd()),
            ("a UDP socket", self.udp.as_raw_fd()),
            ("a listener", self.listener.as_raw_fd()),
            ("a pipe's end", self.reader.as_raw_fd()),
            ("a pipe's beginning", self.writer.as_raw_fd()),
            ("a file", self.file.as_raw_fd()),
            ("what is not connected", self.unconnected),
            ("what is closed", 9000),
            ("a negative number", -1),
            ("a far number", c_int::MAX),
        ]
    }
}

/// Makes calls that are all refused, or return at once.
fn answers(kinds: &Kinds) -> Answers {
    let mut answers = Answers::new();
    let mut ask = |name: String, result: isize| answers.push((name, said(result)));
    let nowhere = ptr::without_provenance_mut::<c_void>(NOWHERE);
    let beyond = ptr::without_provenance_mut::<c_void>(BEYOND);
    let mut buf = [0_u8; 16];
    let here: *mut c_void = buf.as_mut_ptr().cast();
    // Something for all who read, so that bad buffers are looked at.
    let ready =
        |fd: c_int| fd == kinds.stream.as_raw_fd() || fd == kinds.udp.as_raw_fd() || fd == kinds.reader.as_raw_fd();
    for (kind, fd) in kinds.all() {
        let refuses = !(0..9000).contains(&fd) || fd == kinds.unconnected || fd == kinds.file.as_raw_fd();
        // Calls on what would wait are asked only of what is ready, or refuses.
        if ready(fd) || refuses || fd == kinds.writer.as_raw_fd() {
            for (place, at) in [("nowhere", nowhere), ("beyond", beyond)] {
                // One for each call: a datagram that could not be handed over is gone.
                for _ in 0..8 {
                    kinds.udp.send_to(b"ready", kinds.udp.local_addr().unwrap()).unwrap();
                }
                // SAFETY: the kernel looks at it, and refuses.
                ask(format!("read from {kind} to {place}"), unsafe { libc::read(fd, at, 4) });
                // SAFETY: as above.
                ask(format!("recv from {kind} to {place}"), unsafe { libc::recv(fd, at, 4, libc::MSG_PEEK) });
                let parts = at.cast::<iovec>();
                // SAFETY: as above.
                ask(format!("readv from {kind}, parts {place}"), unsafe { libc::readv(fd, parts, 2) });
                let part = iovec { iov_base: at, iov_len: 4 };
                // SAFETY: as above.
                ask(format!("readv from {kind} to {place}"), unsafe { libc::readv(fd, &raw const part, 1) });
                // SAFETY: as above.
                ask(format!("recvmsg from {kind} {place}"), unsafe { libc::recvmsg(fd, at.cast(), 0) });
                // SAFETY: as above.
                ask(format!("recvmsg of all from {kind} {place}"), unsafe {
                    libc::recvmsg(fd, at.cast(), libc::MSG_WAITALL)
                });
            }
            let part = iovec { iov_base: here, iov_len: usize::MAX };
            // SAFETY: refused for its length.
            ask(format!("readv of too much from {kind}"), unsafe { libc::readv(fd, &raw const part, 1) });
        }
        for (place, at) in [("nowhere", nowhere), ("beyond", beyond)] {
            // SAFETY: the kernel looks at it, and refuses.
            ask(format!("write to {kind} from {place}"), unsafe { libc::write(fd, at, 4) });
            // SAFETY: as above.
            ask(format!("send to {kind} from {place}"), unsafe { libc::send(fd, at, 4, libc::MSG_NOSIGNAL) });
            // SAFETY: as above.
            ask(format!("sendto to {kind}, address {place}"), unsafe {
                libc::sendto(fd, here, 4, libc::MSG_NOSIGNAL, at.cast(), 16)
            });
            // SAFETY: as above.
            ask(format!("writev to {kind}, parts {place}"), unsafe { libc::writev(fd, at.cast(), 2) });
            // SAFETY: as above.
            ask(format!("sendmsg to {kind} {place}"), unsafe { libc::sendmsg(fd, at.cast(), libc::MSG_NOSIGNAL) });
            // SAFETY: a message of nothing is all zeros.
            let mut message: msghdr = unsafe { mem::zeroed() };
            (message.msg_iov, message.msg_iovlen) = (at.cast(), 2);
            // SAFETY: as above.
            ask(format!("sendmsg to {kind}, parts {place}"), unsafe {
                libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL)
            });
            // SAFETY: as above.
            ask(format!("connect {kind} to {place}"), unsafe { libc::connect(fd, at.cast(), 16) } as isize);
            if fd != kinds.listener.as_raw_fd() {
                // SAFETY: as above.
                ask(format!("accept from {kind} to {place}"), unsafe { libc::accept(fd, at.cast(), at.cast()) }
                    as isize);
            }
        }
        for count in [-1, 1025, c_int::MIN, c_int::MAX] {
            let part = iovec { iov_base: here, iov_len: 1 };
            // SAFETY: refused for the count, before a part is looked at.
            ask(format!("readv from {kind}, {count} parts"), unsafe { libc::readv(fd, &raw const part, count) });
            // SAFETY: as above.
            ask(format!("writev to {kind}, {count} parts"), unsafe { libc::writev(fd, &raw const part, count) });
        }
        // SAFETY: nothing is looked at.
        ask(format!("writev to {kind}, no parts"), unsafe { libc::writev(fd, ptr::null(), 0) });
        // SAFETY: as above.
        ask(format!("readv from {kind}, no parts"), unsafe { libc::readv(fd, ptr::null(), 0) });
        // SAFETY: no bytes.
        ask(format!("read of nothing from {kind}"), unsafe { libc::read(fd, here, 0) });
        // SAFETY: no bytes.
        ask(format!("write of nothing to {kind}"), unsafe { libc::write(fd, here, 0) });
        // SAFETY: too short an address.
        ask(format!("connect {kind} to nothing"), unsafe { libc::connect(fd, here.cast(), 0) } as isize);
        // SAFETY: plain numbers.
        ask(format!("shutdown of {kind} in no way"), unsafe { libc::shutdown(fd, 77) } as isize);
        // SAFETY: an option that there is none of.
        ask(format!("no option of {kind}"), unsafe { libc::setsockopt(fd, 9999, 1, here, 4) } as isize);
        let mut len = 4;
        // SAFETY: an option that there is none of.
        ask(format!("no option from {kind}"), unsafe { libc::getsockopt(fd, 9999, 1, here, &raw mut len) } as isize);
        // SAFETY: a command that there is none of.
        ask(format!("no fcntl of {kind}"), unsafe { libc::fcntl(fd, 9999, 0) } as isize);
        // SAFETY: the kernel looks at it, and refuses.
        ask(format!("no flag of {kind}"), unsafe { libc::ioctl(fd, libc::FIONBIO, nowhere) } as isize);
        let file = kinds.file.as_raw_fd();
        let mut offset = -5;
        // SAFETY: the offset is refused.
        ask(format!("sendfile to {kind}"), unsafe { libc::sendfile(fd, file, &raw mut offset, 4) });
        // SAFETY: plain numbers.
        ask(format!("sendfile from nothing to {kind}"), unsafe { libc::sendfile(fd, -1, ptr::null_mut(), 4) });
        let none = ptr::null_mut();
        if fd != kinds.reader.as_raw_fd() && fd != kinds.writer.as_raw_fd() {
            // SAFETY: plain numbers.
            ask(format!("splice from {kind} to itself"), unsafe { libc::splice(fd, none, fd, none, 4, 0) });
        }
        // SAFETY: plain numbers.
        ask(format!("splice from nothing to {kind}"), unsafe { libc::splice(-1, none, fd, none, 4, 0) });
        // SAFETY: plain numbers.
        ask(format!("splice to {kind} by no flag"), unsafe { libc::splice(fd, none, -1, none, 4, 9999) });
        // SAFETY: plain numbers.
        ask(format!("dup2 of {kind} to nowhere"), unsafe { libc::dup2(fd, -1) } as isize);
        // SAFETY: plain numbers.
        ask(format!("dup3 of {kind} to itself"), unsafe { libc::dup3(fd, fd, 0) } as isize);
        // SAFETY: plain numbers.
        ask(format!("dup3 of {kind} with a flag that is none"), unsafe { libc::dup3(fd, 9001, 77) } as isize);
        // SAFETY: plain numbers.
        ask(format!("dup2 of {kind} to itself"), unsafe { libc::dup2(fd, fd) }.min(0) as isize);
    }
    // SAFETY: plain numbers; none of them is open.
    ask("close of nothing".into(), unsafe { libc::close(-1) } as isize);
    // SAFETY: as above.
    ask("close of what is closed".into(), unsafe { libc::close(9000) } as isize);
    // SAFETY: as above.
    ask("dup of nothing".into(), unsafe { libc::dup(-1) } as isize);
    // SAFETY: plain numbers.
    ask("no socket".into(), unsafe { libc::socket(-1, 1, 0) } as isize);
    // SAFETY: the kernel looks at it, and refuses.
    ask("a pair for nowhere".into(), unsafe { libc::socketpair(libc::AF_UNIX, 1, 0, nowhere.cast()) } as isize);
    // SAFETY: the first is behind the last.
    ask("a range backwards".into(), unsafe { libc::close_range(10, 5, 0) } as isize);
    answers
}

#[test]
fn what_is_refused_is_refused_in_the_same_words() {
    patched_alone("bad_input::what_is_refused_is_refused_in_the_same_words", || {
        let ask = || {
            let kinds = Kinds::new();
            // SAFETY: readable bytes.
            unsafe { libc::send(kinds.other.as_raw_fd(), b"ready".as_ptr().cast(), 5, 0) };
            // SAFETY: readable bytes.
            unsafe { libc::write(kinds.writer.as_raw_fd(), b"ready".as_ptr().cast(), 5) };
            let first = answers(&kinds);
            // SAFETY: it is this test's.
            unsafe { libc::close(kinds.unconnected) };
            first
        };
        let plain = thread::spawn(ask).join().unwrap();
        let greenlet = spawn(ask).join().unwrap();
        yield_now();
        let differ = Vec::from_iter(plain.iter().zip(&greenlet).filter(|(plain, greenlet)| plain != greenlet));
        assert!(differ.is_empty(), "{differ:#?}");
        assert!(plain.len() > 300 && plain.iter().filter(|(_, said)| said.is_err()).count() > 250);
    });
}
