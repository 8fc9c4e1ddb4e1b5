//! `curl`: the system's libcurl, a C library that waits by `poll`.

use curl::easy::Easy;

use crate::at_once::{CONCURRENT, at_once};
use crate::gate::Gate;
use crate::local;

#[test]
fn transfers_of_libcurl_overlap() {
    let gate = Gate::new();
    let url = format!("http://{}", local::serve_http(&gate));
    transfers_overlap(&gate, url);
}

/// libcurl looks up a name on a thread that it makes for that.
#[test]
fn transfers_of_libcurl_from_a_name_overlap() {
    let gate = Gate::new();
    let url = format!("http://localhost:{}", local::serve_http(&gate).port());
    transfers_overlap(&gate, url);
}

fn transfers_overlap(gate: &Gate, url: String) {
    let answers = at_once(move |number| {
        let (mut easy, mut body) = (Easy::new(), Vec::new());
        easy.url(&format!("{url}/{number}")).unwrap();
        let mut transfer = easy.transfer();
        transfer
            .write_function(|part| {
                body.extend_from_slice(part);
                Ok(part.len())
            })
            .unwrap();
        transfer.perform().unwrap();
        drop(transfer);
        assert_eq!(easy.response_code().unwrap(), 200);
        String::from_utf8(body).unwrap()
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| format!("/{number}")).collect::<Vec<_>>());
    assert_eq!(gate.peak(), CONCURRENT, "transfers at once, in the server's count");
}
