//! Hubs of two threads that talk to each other through sockets.

use std::io::{self, Read, Write};
use std::thread;

use greenlet::net::UnixStream;
use greenlet::{joinall, spawn};

const GREENLETS: usize = 1000;
const MESSAGES: u32 = 100;

#[test]
fn a_thousand_greenlets_exchange_a_hundred_messages_each_with_another_thread() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let pairs = (0..GREENLETS).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>().unwrap();
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let other = thread::spawn(move || {
        joinall(theirs.into_iter().map(|stream| spawn(move || io::copy(&mut &stream, &mut &stream))))
            .into_iter()
            .map(|copied| copied.unwrap().unwrap())
            .sum::<u64>()
    });
    let talks = ours.into_iter().enumerate().map(|(number, mut stream)| {
        spawn(move || -> io::Result<()> {
            for message in 0..MESSAGES {
                let sent = [(number as u32).to_le_bytes(), message.to_le_bytes()].concat();
                stream.write_all(&sent)?;
                let mut echo = [0; 8];
                stream.read_exact(&mut echo)?;
                assert_eq!(echo, sent[..]);
            }
            Ok(())
        })
    });
    for talked in joinall(talks) {
        talked.unwrap().unwrap();
    }
    assert_eq!(other.join().unwrap(), GREENLETS as u64 * u64::from(MESSAGES) * 8);
}
