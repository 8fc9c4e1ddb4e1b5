//! Programs that know nothing of this crate, where they are installed.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread;

use greenlet_hub::spawn;
use greenlet_net::TcpListener;

use crate::worlds::ANY;

/// Starts a program with pipes, or says why not.
fn start(program: &str, args: &[&str]) -> Option<Child> {
    let child = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    child.map_err(|err| println!("skipped: {program} cannot be started: {err}")).ok()
}

/// An echo server for one connection, and its port.
fn echo_once() -> (u16, greenlet_hub::JoinHandle<u64>) {
    let listener = TcpListener::bind(ANY).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        std::io::copy(&mut &stream, &mut &stream).unwrap()
    });
    (port, server)
}

#[test]
fn nc_gets_back_what_it_sends() {
    let (port, server) = echo_once();
    let Some(mut nc) = start("nc", &["-N", "127.0.0.1", &port.to_string()]) else { return };
    nc.stdin.take().unwrap().write_all(b"hello from nc\n").unwrap();
    let output = thread::spawn(move || nc.wait_with_output().unwrap());
    assert_eq!(server.join().unwrap(), 14);
    assert_eq!(output.join().unwrap().stdout, b"hello from nc\n");
}

#[test]
fn python_gets_back_what_it_sends() {
    let script = "import socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as s:
    sent = bytes(range(256)) * 4096
    import threading
    def send():
        s.sendall(sent)
        s.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    received = b''
    while data := s.recv(65536):
        received += data
print(received == sent)
";
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: there is no python3");
    }
    let (port, server) = echo_once();
    let Some(python) = start("python3", &["-c", script, &port.to_string()]) else { return };
    let output = thread::spawn(move || python.wait_with_output().unwrap());
    assert_eq!(server.join().unwrap(), 256 * 4096);
    assert_eq!(output.join().unwrap().stdout, b"True\n");
}
