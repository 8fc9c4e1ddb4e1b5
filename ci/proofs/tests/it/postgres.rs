//! `diesel` on libpq, a C library: it waits by `poll` and reads by `recv`, its own way.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use crate::at_once::{CONCURRENT, at_once};
use crate::{gate, servers};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Integer)]
    number: i32,
}

#[test]
fn queries_of_libpq_overlap() {
    let Some(server) = servers::postgres() else { return };
    queries_overlap(&format!("host=127.0.0.1 port={} user=greenlet dbname=postgres", server.port));
}

#[test]
fn queries_of_libpq_overlap_on_unix_sockets() {
    let Some(server) = servers::postgres() else { return };
    let dir = server.dir.0.display();
    queries_overlap(&format!("host={dir} port={} user=greenlet dbname=postgres", server.port));
}

fn queries_overlap(url: &str) {
    let url = url.to_owned();
    let watcher = gate::watch(|| take_the_lock(&url), count_those_that_wait, unlock);
    let answers = at_once(move |number| {
        let mut connection = PgConnection::establish(&url).unwrap();
        // The steps of a `WITH` that is materialized come in order: the lock, the sleep.
        let query = format!(
            "WITH locked AS MATERIALIZED (SELECT pg_advisory_lock_shared(1)), \
             slept AS MATERIALIZED (SELECT pg_sleep(0.2) FROM locked) SELECT {number} * 3 AS number FROM slept"
        );
        select(&mut connection, &query)
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| number * 3).collect::<Vec<_>>());
    assert_eq!(watcher.join().unwrap(), CONCURRENT, "queries at once, in the server's own count");
}

fn select(connection: &mut PgConnection, query: &str) -> usize {
    let Number { number } = diesel::sql_query(query).get_result(connection).unwrap();
    number.try_into().unwrap()
}

fn take_the_lock(url: &str) -> PgConnection {
    let mut connection = PgConnection::establish(url).unwrap();
    connection.batch_execute("SELECT pg_advisory_lock(1)").unwrap();
    connection
}

fn count_those_that_wait(connection: &mut PgConnection) -> usize {
    const THEY: &str = "SELECT count(*)::integer AS number FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    select(connection, THEY)
}

fn unlock(connection: &mut PgConnection) {
    connection.batch_execute("SELECT pg_advisory_unlock(1)").unwrap();
}
