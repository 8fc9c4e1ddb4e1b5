//! `mysql`: a client in Rust, on std's sockets. The server is MariaDB.

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Pool, PoolConstraints, PoolOpts};

use crate::at_once::{CONCURRENT, at_once};
use crate::{gate, servers};

const THOSE_THAT_WAIT: &str =
    "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'Waiting for table metadata lock'";

#[test]
fn queries_of_mysql_overlap() {
    let Some(server) = servers::mariadb() else { return };
    let options = options(&server);
    let watcher = {
        let options = options.clone();
        gate::watch(|| lock_a_table(options), count_those_that_wait, unlock)
    };
    let answers = at_once(move |number| {
        let mut connection = Conn::new(options.clone()).unwrap();
        let query = format!("SELECT {number} * 3, SLEEP(0.2) FROM gate");
        let (product, interrupted): (usize, usize) = connection.query_first(query).unwrap().unwrap();
        assert_eq!(interrupted, 0);
        product
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| number * 3).collect::<Vec<_>>());
    assert_eq!(watcher.join().unwrap(), CONCURRENT, "queries at once, in the server's own count");
}

/// Its pool stands on std's `Mutex` and `Condvar`: those who find it empty wait there.
#[test]
fn greenlets_share_a_pool_of_mysql_that_is_smaller_than_they_are_many() {
    let Some(server) = servers::mariadb() else { return };
    let options = options(&server);
    let constraints = PoolConstraints::new(0, 10).unwrap();
    let options = options.pool_opts(PoolOpts::default().with_constraints(constraints));
    let pool = Pool::new(options).unwrap();
    let answers = at_once(move |number| {
        let mut connection = pool.get_conn().unwrap();
        let (product, _): (usize, usize) =
            connection.query_first(format!("SELECT {number} * 3, SLEEP(0.05)")).unwrap().unwrap();
        product
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| number * 3).collect::<Vec<_>>());
}

fn options(server: &servers::Server) -> OptsBuilder {
    // It must not change over to a Unix socket, which it would do by itself.
    let options = OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(server.port).prefer_socket(false);
    options.user(Some("root")).db_name(Some("mysql"))
}

fn lock_a_table(options: OptsBuilder) -> [Conn; 2] {
    let [mut lock, count] = [Conn::new(options.clone()).unwrap(), Conn::new(options).unwrap()];
    lock.query_drop("CREATE TABLE gate (one INT)").unwrap();
    lock.query_drop("INSERT INTO gate VALUES (1)").unwrap();
    lock.query_drop("LOCK TABLES gate WRITE").unwrap();
    [lock, count]
}

fn count_those_that_wait([_, count]: &mut [Conn; 2]) -> usize {
    count.query_first(THOSE_THAT_WAIT).unwrap().unwrap()
}

fn unlock([lock, _]: &mut [Conn; 2]) {
    lock.query_drop("UNLOCK TABLES").unwrap();
}
