//! Servers of our own, on plain OS threads: what they do is no part of what is proved.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::gate::Gate;

/// Serves each connection on a thread of its own, to the end of the process. An error is the other side's affair.
pub(crate) fn serve(connection: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let connection = Arc::new(connection);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (connection, stream) = (Arc::clone(&connection), stream.unwrap());
            thread::spawn(move || connection(stream));
        }
    });
    addr
}

/// An HTTP server: it answers with the path that was asked for.
pub(crate) fn serve_http(gate: &Arc<Gate>) -> SocketAddr {
    let gate = Arc::clone(gate);
    serve(move |stream| answer_http(stream, &gate))
}

/// The same with TLS.
pub(crate) fn serve_https(certificate: &Certificate, gate: &Arc<Gate>) -> SocketAddr {
    let gate = Arc::clone(gate);
    serve_tls(certificate, move |stream| answer_http(stream, &gate))
}

/// Serves each connection, inside of TLS.
pub(crate) fn serve_tls(
    certificate: &Certificate,
    connection: impl Fn(StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let config = ServerConfig::builder().with_no_client_auth();
    let chain = vec![CertificateDer::from(certificate.der.clone())];
    let config = config.with_single_cert(chain, PrivatePkcs8KeyDer::from(certificate.key.clone()).into()).unwrap();
    let config = Arc::new(config);
    serve(move |stream| {
        let server = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        connection(StreamOwned::new(server, stream))
    })
}

fn answer_http(stream: impl Read + Write, gate: &Gate) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while line.trim_end() != "" {
        line.clear();
        stream.read_line(&mut line)?;
    }
    gate.pass();
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{path}", path.len())?;
    stream.flush()
}

/// A certificate for `localhost` and 127.0.0.1 that vouches for itself, and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    pub(crate) fn new() -> Certificate {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate { der: made.cert.der().to_vec(), key: made.signing_key.serialize_der() }
    }
}
