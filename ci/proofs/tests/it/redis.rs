//! `redis`: a client in Rust, on std's sockets.

use redis::{Client, Commands, Connection, InfoDict};

use crate::at_once::{CONCURRENT, at_once};
use crate::{gate, servers};

#[test]
fn blocking_pops_of_redis_overlap() {
    let Some(server) = servers::redis() else { return };
    let client = Client::open(format!("redis://127.0.0.1:{}/", server.port)).unwrap();
    let watcher = gate::watch(|| client.get_connection().unwrap(), blocked_clients, push_to_all);
    let answers = at_once(move |number| {
        let mut connection = client.get_connection().unwrap();
        let (_, item): (String, String) = connection.blpop(format!("queue:{number}"), 60.0).unwrap();
        item
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| format!("item {number}")).collect::<Vec<_>>());
    assert_eq!(watcher.join().unwrap(), CONCURRENT, "blocked at once, in redis's own count");
}

#[test]
fn a_pop_of_redis_that_times_out_at_the_server_delays_nobody() {
    let Some(server) = servers::redis() else { return };
    let client = Client::open(format!("redis://127.0.0.1:{}/", server.port)).unwrap();
    let start = std::time::Instant::now();
    let answers = at_once(move |number| {
        let mut connection = client.get_connection().unwrap();
        let popped: Option<(String, String)> = connection.blpop(format!("queue:{number}"), 0.2).unwrap();
        popped
    });
    assert!(answers.iter().all(Option::is_none));
    // One after the other they would take ten seconds.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

fn blocked_clients(server: &mut Connection) -> usize {
    let info: InfoDict = redis::cmd("INFO").arg("clients").query(server).unwrap();
    info.get("blocked_clients").unwrap()
}

fn push_to_all(server: &mut Connection) {
    for number in 0..CONCURRENT {
        let _: usize = server.rpush(format!("queue:{number}"), format!("item {number}")).unwrap();
    }
}
