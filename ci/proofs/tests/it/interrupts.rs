//! Kills and timeouts reach what waits inside of a library: as an error of the call that waits there, which the library
//! hands up in its own way. No library may take it for a reason to try again for ever.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ::curl::easy::Easy;
use ::diesel::{Connection, PgConnection};
use ::mysql::{Conn, OptsBuilder};
use ::native_tls::TlsConnector;
use greenlet::{JoinError, spawn, timeout};

use crate::at_once::at_once;
use crate::local;

/// The operation would take a minute at the least. It fails, as soon as its time has expired, and when it is killed.
fn ends_when_interrupted(operation: impl Fn() -> Result<(), String> + 'static) {
    const MEANWHILE: Duration = Duration::from_millis(100);
    let (operation, start) = (Rc::new(operation), Instant::now());
    at_once(move |_| {
        let timed = timeout(MEANWHILE, || operation());
        // What does not wait once more after the error returns it.
        assert!(matches!(timed, Ok(Err(_)) | Err(_)), "{timed:?}");
        let operation = Rc::clone(&operation);
        let waiting = spawn(move || operation());
        greenlet::sleep(MEANWHILE);
        waiting.kill().unwrap();
        let killed = waiting.join();
        assert!(matches!(killed, Ok(Err(_)) | Err(JoinError::Killed)), "{killed:?}");
    });
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// A server that listens, and never says a word.
fn silent_server() -> SocketAddr {
    local::serve(|mut stream| io::copy(&mut stream, &mut io::sink()).map(drop))
}

fn described<T>(result: Result<T, impl ToString>) -> Result<(), String> {
    result.map(drop).map_err(|err| err.to_string())
}

#[test]
fn a_connection_of_redis_ends() {
    let client = redis::Client::open(format!("redis://{}/", silent_server())).unwrap();
    ends_when_interrupted(move || described(client.get_connection()));
}

#[test]
fn a_connection_of_mysql_ends() {
    let server = silent_server();
    let options = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(server.port()).prefer_socket(false);
    ends_when_interrupted(move || described(Conn::new(options.clone())));
}

#[test]
fn a_connection_of_libpq_ends() {
    let url = format!("host=127.0.0.1 port={} user=greenlet dbname=postgres", silent_server().port());
    ends_when_interrupted(move || described(PgConnection::establish(&url)));
}

#[test]
fn a_request_of_ureq_ends() {
    let url = format!("http://{}/", silent_server());
    ends_when_interrupted(move || described(ureq::get(&url).call()));
}

#[test]
fn a_request_of_ureq_with_rustls_ends() {
    let url = format!("https://{}/", silent_server());
    ends_when_interrupted(move || described(ureq::get(&url).call()));
}

#[test]
fn a_connection_of_tungstenite_ends() {
    let url = format!("ws://{}/", silent_server());
    ends_when_interrupted(move || described(tungstenite::connect(&url)));
}

#[test]
fn a_handshake_of_openssl_ends() {
    let (server, connector) = (silent_server(), TlsConnector::new().unwrap());
    ends_when_interrupted(move || {
        let stream = TcpStream::connect(server).map_err(|err| err.to_string())?;
        described(connector.connect("localhost", stream))
    });
}

#[test]
fn a_transfer_of_libcurl_ends() {
    let url = format!("http://{}/", silent_server());
    ends_when_interrupted(move || {
        let mut easy = Easy::new();
        easy.url(&url).unwrap();
        described(easy.perform())
    });
}

#[test]
fn waiting_for_a_child_ends() {
    ends_when_interrupted(|| {
        let mut child = Command::new("sleep").arg("60").spawn().map_err(|err| err.to_string())?;
        let waited = child.wait();
        child.kill().unwrap();
        described(waited)
    });
}

#[test]
fn reading_from_a_child_ends() {
    ends_when_interrupted(|| {
        let mut child =
            Command::new("sleep").arg("60").stdout(Stdio::piped()).spawn().map_err(|err| err.to_string())?;
        let read = child.stdout.take().unwrap().read_to_end(&mut Vec::new());
        child.kill().unwrap();
        described(read)
    });
}
