//! Which hubs of a pool sleep, and who wakes one when there is a job.
//!
//! A job that is left while somebody sleeps must be run by a hub that was awake already, or wake one; and it is a waste to wake them all for
//! one job. So the one who leaves a job wakes *one* sleeper, and none while another is *on the way*: that one looks for jobs when it arrives, and
//! if it finds more than it can take, it wakes the next. Go's and tokio's schedulers do the same.
//!
//! ```text
//!            fall_asleep                    job_left
//!   awake ───────────────► asleep (listed) ─────────► on the way
//!     ▲                       │ wake_up: false            │ wake_up: true
//!     └───────────────────────┴───────────────────────────┘   (and looks for jobs)
//! ```
//!
//! **Nothing is slept through.** Whoever leaves a job does that first and then reads the counts; whoever goes to sleep, and whoever arrives,
//! changes the counts first and then looks for jobs. Between the two steps of each stands a sequentially consistent fence. So of one who leaves a job and
//! one who goes to sleep at least one sees the other. One who leaves a job and sees somebody on the way wakes nobody: that
//! one had not arrived, so it looks after it has said so, and sees the job.
//!
//! A thief who moves several jobs to his own queue makes them invisible for a moment, in which somebody may go to sleep; so he counts as one who has left
//! jobs.

use crate::atomics::{AtomicUsize, Ordering, fence};
use crate::short_lock::ShortLock;

/// The counts share a word: how many sleep, and (in units of this) how many are on the way.
const ON_THE_WAY: usize = 1 << (usize::BITS / 2);

/// The members of a pool that sleep.
pub(crate) struct Idle {
    /// Written under the lock of `sleepers` only.
    counts: AtomicUsize,
    /// By index; the last to fall asleep is the first to be woken, since its caches are the warmest.
    sleepers: ShortLock<Vec<usize>>,
}

impl Idle {
    pub(crate) fn new(members: usize) -> Idle {
        Idle { counts: AtomicUsize::new(0), sleepers: ShortLock::new(Vec::with_capacity(members)) }
    }

    /// To be called after a job was left. The member that the caller has to wake, if any.
    #[inline]
    pub(crate) fn job_left(&self) -> Option<usize> {
        fence(Ordering::SeqCst);
        let counts = self.counts.load(Ordering::Relaxed);
        // Nearly always nobody sleeps, or somebody is coming.
        if wakes_somebody(counts) { self.call_one() } else { None }
    }

    #[cold]
    fn call_one(&self) -> Option<usize> {
        let mut sleepers = self.sleepers.lock();
        let counts = self.counts.load(Ordering::Relaxed);
        if !wakes_somebody(counts) {
            return None;
        }
        let member = sleepers.pop()?;
        self.counts.store(counts - 1 + ON_THE_WAY, Ordering::Release);
        Some(member)
    }

    /// Says that a member is about to sleep. It then looks for jobs once more; whatever it finds or does, it calls
    /// [`wake_up`](Idle::wake_up) next.
    pub(crate) fn fall_asleep(&self, member: usize) {
        {
            let mut sleepers = self.sleepers.lock();
            sleepers.push(member);
            self.change(1);
        }
        fence(Ordering::SeqCst);
    }

    /// Says that a member is awake. True: it was called for a job, which it has to look for now.
    pub(crate) fn wake_up(&self, member: usize) -> bool {
        let was_called = {
            let mut sleepers = self.sleepers.lock();
            let place = sleepers.iter().rposition(|sleeper| *sleeper == member);
            place.map(|place| sleepers.remove(place));
            self.change(if place.is_some() { 1_usize.wrapping_neg() } else { ON_THE_WAY.wrapping_neg() });
            place.is_none()
        };
        fence(Ordering::SeqCst);
        was_called
    }

    /// Adds to the counts, with the lock held.
    fn change(&self, by: usize) {
        self.counts.store(self.counts.load(Ordering::Relaxed).wrapping_add(by), Ordering::Release);
    }
}

/// Whether one who leaves a job has to wake somebody.
fn wakes_somebody(counts: usize) -> bool {
    counts > 0 && counts < ON_THE_WAY
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_called_until_it_has_arrived() {
        let idle = Idle::new(2);
        idle.fall_asleep(0);
        idle.fall_asleep(1);
        assert_eq!(idle.job_left(), Some(1), "the last to fall asleep");
        assert_eq!(idle.job_left(), None, "one is on the way");
        assert!(idle.wake_up(1), "it was called");
        assert_eq!(idle.job_left(), Some(0));
        assert_eq!(idle.job_left(), None);
    }

    #[test]
    fn one_who_wakes_by_himself_is_not_called() {
        let idle = Idle::new(2);
        idle.fall_asleep(0);
        idle.fall_asleep(1);
        assert!(!idle.wake_up(0));
        assert_eq!(idle.job_left(), Some(1));
        assert!(idle.wake_up(1));
        assert_eq!(idle.job_left(), None, "nobody sleeps");
    }
}

/// The protocol in every interleaving (see `ci/loom`).
#[cfg(all(test, greenlet_loom))]
mod loom_tests {
    use super::*;
    use crate::inbox::loom_tests::Bell;
    use loom::sync::Arc;
    use loom::thread;

    /// A pool whose queue is a count, which is left and taken without more order than a deque has.
    struct Pool {
        idle: Idle,
        jobs: AtomicUsize,
        left: AtomicUsize,
        bells: Vec<Bell>,
    }

    impl Pool {
        fn new(members: usize, jobs: usize) -> Arc<Pool> {
            let bells = (0..members).map(|_| Bell::default()).collect();
            Arc::new(Pool { idle: Idle::new(members), jobs: AtomicUsize::new(0), left: AtomicUsize::new(jobs), bells })
        }

        fn leave(&self) {
            self.jobs.fetch_add(1, Ordering::Release);
            self.announce();
        }

        fn announce(&self) {
            if let Some(member) = self.idle.job_left() {
                self.bells[member].ring();
            }
        }

        fn has_jobs(&self) -> bool {
            self.jobs.load(Ordering::Acquire) > 0
        }

        fn take(&self) -> bool {
            (self.jobs).fetch_update(Ordering::AcqRel, Ordering::Acquire, |jobs| jobs.checked_sub(1)).is_ok()
        }

        /// What a member does until all jobs have been taken; it tells the others then.
        fn run(&self, member: usize) {
            let mut called = false;
            loop {
                if self.take() {
                    if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        self.bells.iter().for_each(Bell::ring);
                        return;
                    }
                    if called && self.has_jobs() {
                        self.announce();
                    }
                }
                if self.left.load(Ordering::Acquire) == 0 {
                    return;
                }
                self.idle.fall_asleep(member);
                if !self.has_jobs() {
                    self.bells[member].sleep();
                }
                called = self.idle.wake_up(member);
            }
        }
    }

    #[test]
    fn no_job_is_slept_through() {
        loom::model(|| {
            let pool = Pool::new(1, 2);
            let member = thread::spawn({
                let pool = Arc::clone(&pool);
                move || pool.run(0)
            });
            pool.leave();
            pool.leave();
            member.join().unwrap();
        });
    }

    #[test]
    fn two_who_leave_jobs_and_one_who_sleeps() {
        loom::model(|| {
            let pool = Pool::new(1, 2);
            let other = thread::spawn({
                let pool = Arc::clone(&pool);
                move || pool.leave()
            });
            let member = thread::spawn({
                let pool = Arc::clone(&pool);
                move || pool.run(0)
            });
            pool.leave();
            other.join().unwrap();
            member.join().unwrap();
        });
    }

    /// One member takes a job and computes for ever: the other job is not left to it.
    #[test]
    fn one_who_computes_keeps_no_job_from_the_others() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let pool = Pool::new(2, 2);
            let members = [0, 1].map(|member| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    let mut called = false;
                    // Each takes one job and no more: loom reports a deadlock if nobody is woken for the second.
                    while !pool.take() {
                        pool.idle.fall_asleep(member);
                        if !pool.has_jobs() {
                            pool.bells[member].sleep();
                        }
                        called = pool.idle.wake_up(member);
                    }
                    if called && pool.has_jobs() {
                        pool.announce();
                    }
                })
            });
            pool.leave();
            pool.leave();
            for member in members {
                member.join().unwrap();
            }
        });
    }
}
