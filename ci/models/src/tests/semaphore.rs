//! `Semaphore`, and what all primitives of permits have in common.

use std::sync::Arc;
use std::time::Duration;

use super::{expire, kill};
use crate::{Greenlet, Semaphore};

const NO_TIME: Duration = Duration::ZERO;

#[test]
fn a_permit_for_one_who_is_killed_goes_to_the_next() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let take = |semaphore: &Arc<Semaphore>| {
            let semaphore = Arc::clone(semaphore);
            move || drop(semaphore.acquire())
        };
        let killed = Greenlet::new();
        let first = killed.start(take(&semaphore));
        let second = Greenlet::spawn(take(&semaphore));
        let killer = kill(&killed);
        semaphore.release();
        first.join().unwrap();
        assert_eq!(second.join().unwrap(), Some(()));
        killer.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_permit_for_one_whose_time_has_come_goes_to_the_next() {
    loom::model(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        let hasty = Greenlet::new();
        let first = hasty.start({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.acquire_timeout(NO_TIME))
        });
        let second = Greenlet::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || drop(semaphore.acquire())
        });
        let clock = expire(&hasty);
        semaphore.release();
        first.join().unwrap();
        assert_eq!(second.join().unwrap(), Some(()));
        clock.join().unwrap();
        assert_eq!(semaphore.available(), 1);
    });
}
