//! `native-tls`: OpenSSL, a C library with locks of its own, on std's sockets.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use native_tls::{Certificate, TlsConnector};

use crate::at_once::{CONCURRENT, at_once};
use crate::gate::Gate;
use crate::local;

#[test]
fn conversations_over_openssl_overlap() {
    let (gate, certificate) = (Gate::new(), local::Certificate::new());
    let server = {
        let gate = gate.clone();
        local::serve_tls(&certificate, move |stream| {
            let (mut stream, mut line) = (BufReader::new(stream), String::new());
            stream.read_line(&mut line)?;
            gate.pass();
            stream.get_mut().write_all(line.to_uppercase().as_bytes())?;
            stream.get_mut().flush()
        })
    };
    let certificate = Certificate::from_der(&certificate.der).unwrap();
    let connector = TlsConnector::builder().add_root_certificate(certificate).build().unwrap();
    let answers = at_once(move |number| {
        let stream = TcpStream::connect(server).unwrap();
        let mut stream = connector.connect("localhost", stream).unwrap();
        stream.write_all(format!("line {number}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| format!("LINE {number}\n")).collect::<Vec<_>>());
    assert_eq!(gate.peak(), CONCURRENT, "conversations at once, in the server's count");
}
