//! Calls of each kind, through std: what two programs do, of which one links the crate.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// Makes them; every run makes the same.
pub(crate) fn make() -> io::Result<()> {
    let long_enough = Duration::from_millis(20);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut ours = TcpStream::connect(listener.local_addr()?)?;
    let (mut theirs, _) = listener.accept()?;
    ours.set_read_timeout(Some(Duration::from_millis(1)))?;
    ours.set_nodelay(true)?;
    ours.read(&mut [0; 8]).unwrap_err();
    theirs.write_all(b"hello")?;
    ours.try_clone()?.read_exact(&mut [0; 5])?;
    theirs.set_nonblocking(true)?;
    theirs.read(&mut [0; 8]).unwrap_err();
    ours.shutdown(std::net::Shutdown::Both)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"x", socket.local_addr()?)?;
    socket.recv_from(&mut [0; 8])?;
    let (one, other) = UnixDatagram::pair()?;
    one.send(b"x")?;
    other.recv(&mut [0; 8])?;
    let (one, mut other) = UnixStream::pair()?;
    let reader = thread::spawn(move || { &one }.read(&mut [0; 8]));
    thread::sleep(long_enough);
    assert_eq!(other.write_vectored(&[io::IoSlice::new(b"a"), io::IoSlice::new(b"b")])?, 2);
    thread::sleep(long_enough);
    reader.join().unwrap()?;
    let (mut reader, mut writer) = io::pipe()?;
    writer.write_all(b"through a pipe")?;
    drop(writer);
    io::copy(&mut reader, &mut io::sink())?;
    let mut file = File::open("/proc/self/cmdline")?;
    file.read_to_end(&mut Vec::new())?;
    // A mutex and a condition that are waited for.
    let pair = Arc::new((Mutex::new(false), Condvar::new(), Barrier::new(1)));
    let other = thread::spawn({
        let pair = Arc::clone(&pair);
        move || {
            let mut held = pair.0.lock().unwrap();
            thread::sleep(long_enough);
            *held = true;
            drop(held);
            thread::sleep(long_enough);
            pair.1.notify_all();
        }
    });
    thread::sleep(long_enough / 2);
    drop(pair.1.wait_while(pair.0.lock().unwrap(), |done| !*done).unwrap());
    pair.2.wait();
    other.join().unwrap();
    thread::yield_now();
    ("localhost", 80).to_socket_addrs()?.count();
    Command::new("true").status()?;
    Ok(())
}
