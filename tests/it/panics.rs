//! A panic in one connection's greenlet. The server is this test's program, started again.

use std::io::{self, Read, Write};
use std::process::Command;

use greenlet::Builder;
use greenlet::net::TcpListener;

use crate::support::{Server, round_trip};

const CHILD: &str = "GREENLET_TEST_PANICKING_SERVER";

/// Echoes, and panics at the word.
fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("\nlistening on {}", listener.local_addr()?);
    loop {
        let (mut stream, peer) = listener.accept()?;
        Builder::new().name(format!("client {peer}")).spawn(move || -> io::Result<()> {
            let mut buf = [0; 100];
            loop {
                let len = stream.read(&mut buf)?;
                assert_ne!(&buf[..len], b"panic", "the client asked for it");
                if len == 0 {
                    return Ok(());
                }
                stream.write_all(&buf[..len])?;
            }
        });
    }
}

#[test]
fn a_panic_closes_its_own_connection_only_and_is_reported_with_name_and_place() {
    if std::env::var_os(CHILD).is_some() {
        return serve().unwrap();
    }
    let this_test = "panics::a_panic_closes_its_own_connection_only_and_is_reported_with_name_and_place";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let server = Server::spawn(command.args([this_test, "--exact", "--nocapture"]).env(CHILD, "1"));
    let (mut doomed, mut other) = (server.connect(), server.connect());
    round_trip(&mut doomed, b"hello");
    round_trip(&mut other, b"hello");
    let descriptors = server.descriptors();
    doomed.write_all(b"panic").unwrap();
    assert_eq!(doomed.read(&mut [0]).unwrap(), 0, "its connection is closed");
    round_trip(&mut other, b"the others go on");
    assert_eq!(server.descriptors(), descriptors - 1);
    let mut later = server.connect();
    round_trip(&mut later, b"and new ones are served");

    let name = format!("greenlet 'client {}'", doomed.local_addr().unwrap());
    let stderr = server.end();
    assert_eq!(stderr.matches(&name).count(), 1, "once, with its name: {stderr}");
    assert_eq!(stderr.matches("panicked at").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("the client asked for it").count(), 1, "{stderr}");
    // Where it was spawned, and where it panicked.
    assert!(stderr.matches(file!()).count() >= 2, "{stderr}");
}
