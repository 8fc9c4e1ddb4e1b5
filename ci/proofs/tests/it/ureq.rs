//! `ureq`: an HTTP client in Rust, on std's sockets, plain and with rustls.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::at_once::{CONCURRENT, at_once};
use crate::gate::Gate;
use crate::local;

#[test]
fn requests_of_ureq_overlap() {
    let gate = Gate::new();
    let url = format!("http://{}", local::serve_http(&gate));
    requests_overlap(&gate, url, Agent::new_with_defaults());
}

/// With a time-out it looks names up on a thread of its own, for which it waits by a channel of std's: that waits at a place
/// which belongs to the thread. So it blocks the thread, for the look-up only, and the patch says so once.
#[test]
fn requests_of_ureq_with_a_timeout_overlap_but_for_looking_names_up() {
    let gate = Gate::new();
    let url = format!("http://localhost:{}", local::serve_http(&gate).port());
    let agent = Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build();
    requests_overlap(&gate, url, agent.into());
}

/// `localhost` may stand for two addresses, of which the server has one.
#[test]
fn requests_of_ureq_to_a_name_overlap() {
    let gate = Gate::new();
    let url = format!("http://localhost:{}", local::serve_http(&gate).port());
    requests_overlap(&gate, url, Agent::new_with_defaults());
}

#[test]
fn requests_of_ureq_with_rustls_overlap() {
    let (gate, certificate) = (Gate::new(), local::Certificate::new());
    let url = format!("https://{}", local::serve_https(&certificate, &gate));
    let certificate = Certificate::from_der(&certificate.der).to_owned();
    let roots = RootCerts::Specific(Arc::new(vec![certificate]));
    let agent = Agent::config_builder().tls_config(TlsConfig::builder().root_certs(roots).build()).build();
    requests_overlap(&gate, url, agent.into());
}

fn requests_overlap(gate: &Gate, url: String, agent: Agent) {
    let answers = at_once(move |number| {
        agent.get(format!("{url}/{number}")).call().unwrap().body_mut().read_to_string().unwrap()
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| format!("/{number}")).collect::<Vec<_>>());
    assert_eq!(gate.peak(), CONCURRENT, "requests at once, in the server's count");
}
