//! Calls with several buffers, and messages that carry descriptors.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::{mem, ptr};

use greenlet_hub::{sleep, spawn};
use libc::{iovec, msghdr};

use crate::calls::{Said, said, settle};
use crate::support::{MS, patched, tcp_pair};

const SPACE: usize = 64;

/// Room for what comes along with a message, aligned as it has to be.
#[repr(align(8))]
struct Along([u8; SPACE]);

/// Sends parts, and perhaps a descriptor along with them.
fn sendmsg(fd: RawFd, parts: &[&[u8]], along: Option<RawFd>, flags: i32) -> Said {
    let mut parts = Vec::from_iter(
        parts.iter().map(|part| iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() }),
    );
    // SAFETY: a message of nothing is all zeros.
    let mut message: msghdr = unsafe { mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), parts.len());
    let mut control = Along([0; SPACE]);
    if let Some(along) = along {
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: a plain computation.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as usize;
        // SAFETY: the message has control data.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: there is room for one header.
        let header = unsafe { &mut *header };
        (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        // SAFETY: a plain computation.
        header.cmsg_len = unsafe { libc::CMSG_LEN(4) } as usize;
        // SAFETY: the header is a whole one.
        let place = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: there is room for one descriptor behind the header.
        unsafe { place.cast::<RawFd>().write_unaligned(along) };
    }
    // SAFETY: a message whose parts outlive the call.
    said(unsafe { libc::sendmsg(fd, &raw const message, flags | libc::MSG_NOSIGNAL) })
}

/// Receives into parts of these lengths; the bytes, and the descriptor that came along.
fn recvmsg(fd: RawFd, lens: &[usize], flags: i32) -> Result<(Vec<u8>, Option<OwnedFd>), i32> {
    let mut buffers = Vec::from_iter(lens.iter().map(|&len| vec![0_u8; len]));
    let mut parts =
        Vec::from_iter(buffers.iter_mut().map(|buf| iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() }));
    // SAFETY: a message of nothing is all zeros.
    let mut message: msghdr = unsafe { mem::zeroed() };
    let mut control = Along([0; SPACE]);
    (message.msg_iov, message.msg_iovlen) = (parts.as_mut_ptr(), parts.len());
    (message.msg_control, message.msg_controllen) = (control.0.as_mut_ptr().cast(), SPACE);
    // SAFETY: a message whose parts outlive the call.
    let len = said(unsafe { libc::recvmsg(fd, &raw mut message, flags) })?;
    assert_eq!((message.msg_iov, message.msg_iovlen), (parts.as_mut_ptr(), parts.len()));
    // SAFETY: the call has filled it in.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: it is null or a header.
    let header = unsafe { header.as_ref() };
    let along = header.filter(|header| header.cmsg_type == libc::SCM_RIGHTS).map(|header| {
        // SAFETY: the header is a whole one.
        let place = unsafe { libc::CMSG_DATA(header) };
        // SAFETY: one descriptor is behind the header.
        let fd = unsafe { place.cast::<RawFd>().read_unaligned() };
        // SAFETY: it is new.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let mut bytes = buffers.concat();
    bytes.truncate(len);
    Ok((bytes, along))
}

#[test]
fn a_descriptor_comes_along_and_is_waited_for() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        let receiver = spawn(move || recvmsg(fd, &[3, 8], 0));
        settle();
        assert!(!receiver.is_finished());
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"he", b"llo"], Some(reader.as_raw_fd()), 0), Ok(5));
        drop(reader);
        let (bytes, along) = receiver.join().unwrap().unwrap();
        assert_eq!(bytes, b"hello");
        // What has come is as good as any other.
        let mut reader = std::io::PipeReader::from(along.unwrap());
        let late = spawn(move || {
            sleep(5 * MS);
            writer.write_all(b"through it")
        });
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through it");
        late.join().unwrap().unwrap();
    });
}

#[test]
fn a_read_that_stops_where_a_descriptor_came_along_is_followed_by_the_rest() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        // Registered by a wait.
        let receiver = spawn(move || recvmsg(fd, &[100], 0));
        settle();
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"one"], None, 0), Ok(3));
        assert_eq!(receiver.join().unwrap().unwrap().0, b"one");
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"two"], Some(fd), 0), Ok(3));
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"three"], Some(fd), 0), Ok(5));
        let (bytes, along) = recvmsg(fd, &[100], 0).unwrap();
        assert!(bytes == b"two" && along.is_some());
        let (bytes, along) = recvmsg(fd, &[100], 0).unwrap();
        assert!(bytes == b"three" && along.is_some());
    });
}

#[test]
fn a_message_that_does_not_fit_goes_in_parts_and_its_descriptor_once() {
    patched(|| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let data = Vec::from_iter((0..2_000_000_u32).map(|n| (n % 251) as u8));
        let expected = data.clone();
        let fd = ours.as_raw_fd();
        let sender = spawn(move || {
            let (first, second) = data.split_at(700_001);
            let sent = sendmsg(fd, &[first, b"", second], Some(fd), 0);
            drop(ours);
            sent
        });
        let mut received = Vec::new();
        let mut descriptors = 0;
        loop {
            let (bytes, along) = recvmsg(theirs.as_raw_fd(), &[10_000, 50_000], 0).unwrap();
            if bytes.is_empty() {
                break;
            }
            received.extend_from_slice(&bytes);
            descriptors += usize::from(along.is_some());
        }
        assert!(received == expected);
        assert_eq!((sender.join().unwrap(), descriptors), (Ok(2_000_000), 1));
    });
}

#[test]
fn several_buffers_are_written_whole_and_filled_as_far_as_there_is() {
    patched(|| {
        let (mut ours, mut theirs) = tcp_pair();
        // SAFETY: plain numbers.
        let small: i32 = 4096;
        let len = size_of_val(&small) as u32;
        // SAFETY: a number of that length.
        let set = unsafe {
            libc::setsockopt(ours.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const small).cast(), len)
        };
        assert_eq!(set, 0);
        let parts = Vec::from_iter((0..300_u32).map(|n| vec![n as u8; 10_000]));
        let expected = parts.concat();
        let writer = spawn(move || {
            let parts = Vec::from_iter(parts.iter().map(|part| IoSlice::new(part)));
            let written = ours.write_vectored(&parts);
            drop(ours);
            written
        });
        let mut received = Vec::new();
        loop {
            let (mut first, mut second) = ([0; 100], vec![0; 3000]);
            let read = theirs.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]).unwrap();
            if read == 0 {
                break;
            }
            received.extend_from_slice(&[&first[..], &second[..]].concat()[..read]);
        }
        assert!(received == expected);
        assert_eq!(writer.join().unwrap().unwrap(), 3_000_000);
    });
}

#[test]
fn several_buffers_go_through_a_pipe() {
    patched(|| {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let sender = spawn(move || {
            let parts = [vec![1; 100_000], vec![], vec![2; 100_000]];
            let written =
                writer.write_vectored(&[IoSlice::new(&parts[0]), IoSlice::new(&parts[1]), IoSlice::new(&parts[2])]);
            drop(writer);
            written
        });
        let mut received = Vec::new();
        loop {
            let (mut first, mut second) = ([0; 10], [0; 10_000]);
            let read = reader.read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]).unwrap();
            if read == 0 {
                break;
            }
            received.extend_from_slice(&[&first[..], &second[..]].concat()[..read]);
        }
        assert!(received == [vec![1; 100_000], vec![2; 100_000]].concat());
        assert_eq!(sender.join().unwrap().unwrap(), 200_000);
    });
}

#[test]
fn a_message_that_is_wanted_whole_is_waited_for() {
    patched(|| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let fd = ours.as_raw_fd();
        let receiver = spawn(move || recvmsg(fd, &[2, 6], libc::MSG_WAITALL));
        for part in [b"abc", b"def", b"ghi"] {
            settle();
            assert!(!receiver.is_finished());
            theirs.write_all(part).unwrap();
        }
        assert_eq!(receiver.join().unwrap().unwrap().0, b"abcdefgh");
        // It ends where something comes along.
        let receiver = spawn(move || recvmsg(fd, &[2, 6], libc::MSG_WAITALL));
        settle();
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"jk"], Some(fd), 0), Ok(2));
        settle();
        drop(theirs);
        let (bytes, along) = receiver.join().unwrap().unwrap();
        assert!(bytes.starts_with(b"i"), "{bytes:?}");
        let rest = recvmsg(fd, &[8], libc::MSG_WAITALL).unwrap();
        assert_eq!([bytes, rest.0].concat(), b"ijk");
        assert!(along.is_some() || rest.1.is_some());
    });
}

#[test]
fn a_datagram_is_one_message_however_many_parts_it_has() {
    patched(|| {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let fd = ours.as_raw_fd();
        let receiver = spawn(move || recvmsg(fd, &[2, 10], libc::MSG_WAITALL));
        settle();
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"a", b"", b"bcd"], None, 0), Ok(4));
        assert_eq!(receiver.join().unwrap().unwrap().0, b"abcd");
        // None that has no bytes is lost, and none is taken by who has no room.
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[], None, 0), Ok(0));
        assert_eq!(sendmsg(theirs.as_raw_fd(), &[b"next"], None, 0), Ok(4));
        // SAFETY: no parts.
        assert_eq!(said(unsafe { libc::readv(fd, ptr::null(), 0) }), Ok(0));
        assert_eq!(recvmsg(fd, &[8], 0).unwrap().0, b"");
        assert_eq!(recvmsg(fd, &[8], 0).unwrap().0, b"next");
    });
}
