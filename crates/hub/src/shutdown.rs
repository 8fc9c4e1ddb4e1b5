//! The end of a hub: its greenlets are let run out, then killed.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::block::{BlockRef, HubRef};
use crate::greenlet::Greenlet;
use crate::hub::{Hub, deadline_after};

/// So long killed greenlets have for their cleanup.
pub(crate) const CLEANUP: Duration = Duration::from_secs(1);

/// Waits until all other greenlets of this hub have ended, kills those that have not in `grace`, and waits for their cleanup for a second.
///
/// What still lives then is reported on stderr by name and returned; it may run on as long as the hub does, and is leaked when that ends.
/// Greenlets that are spawned meanwhile are waited for and killed as well, and those that a timer was to start never run. A thread that simply ends leaks the greenlets that
/// wait; this is for those whose destructors matter. The main greenlet, if another one calls, is left alone.
///
/// # Panics
///
/// Inside [`no_switch`](crate::no_switch()); to unwind when the greenlet is interrupted.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{shutdown, sleep, spawn};
/// use std::time::Duration;
///
/// let server = spawn(|| sleep(Duration::from_secs(60)));
/// assert!(shutdown(Duration::ZERO).is_empty());
/// assert!(server.is_finished());
/// ```
pub fn shutdown(grace: Duration) -> Vec<Greenlet> {
    let hub = Hub::here();
    hub.kill_those_that_start_later();
    wait_for_others(hub, deadline_after(grace), false);
    let left = wait_for_others(hub, deadline_after(CLEANUP), true);
    for greenlet in &left {
        let _ = writeln!(
            std::io::stderr(),
            "greenlet: {} resists its end and is left behind",
            Greenlet::label(greenlet.block())
        );
    }
    left
}

/// Waits until the others have ended; those that have not by the deadline.
fn wait_for_others(hub: &Hub, deadline: Instant, kill: bool) -> Vec<Greenlet> {
    loop {
        let others: Vec<Greenlet> = hub.others().into_iter().map(Greenlet::from_block).collect();
        if kill {
            for other in &others {
                let _ = other.kill_nowait();
            }
        }
        if others.is_empty() {
            return others;
        }
        // In the order in which they were spawned; whoever was spawned meanwhile is found by the next look. The clock is asked as well,
        // for those who end in time and leave a successor.
        let in_time = others.iter().all(|other| other.wait_deadline(Some(deadline)));
        if !in_time || Instant::now() >= deadline {
            return hub.others().into_iter().map(Greenlet::from_block).collect();
        }
    }
}

impl Hub {
    /// All unfinished greenlets but the main one and the one that runs, in the order in which they were spawned. With those that other
    /// threads have spawned here until now.
    pub(crate) fn others(&self) -> Vec<BlockRef> {
        self.drain_inbox();
        let mut others = self.waiting();
        self.ready.for_each(|greenlet| others.push(greenlet));
        self.urgent.for_each(|greenlet| others.push(greenlet));
        others.extend(self.jobs_to_start());
        others.retain(|greenlet| *greenlet != self.main().hub_ref() && *greenlet != self.current());
        others.sort_unstable_by_key(|greenlet| greenlet.id);
        others.dedup();
        others.iter().map(BlockRef::from_hub).collect()
    }

    /// Kills what a timer is to start: that would use up a shutdown's grace for nothing.
    pub(crate) fn kill_those_that_start_later(&self) {
        let jobs: Vec<BlockRef> = self.jobs_to_start().iter().map(BlockRef::from_hub).collect();
        for job in jobs {
            let _ = Greenlet::from_block(job).kill_nowait();
        }
    }

    /// What timers are to start.
    fn jobs_to_start(&self) -> Vec<HubRef> {
        let timers = self.timers.borrow();
        timers.values().filter(|timed| timed.number == 0).map(|timed| timed.block).collect()
    }
}
