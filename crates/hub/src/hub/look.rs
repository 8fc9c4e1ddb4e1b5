//! How a hub looks at the world around it (descriptors, timers, other threads), and how it sleeps.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use greenlet_core::TRIM_BATCH;

use super::{FIRES_PER_LOOK, Hub, KEPT_IDLE, PASSED_ON_PER_LOOK, TRIM_INTERVAL};
use crate::block::Stray;
use crate::deadlock;
use crate::greenlet::JoinError;
use crate::shared::Message;
use crate::waiter::Timed;
use crate::word::{Ended, State};

impl Hub {
    /// Looks at the inbox, at descriptors and at timers; sleeps if nothing is ready.
    #[inline(never)]
    pub(super) fn look(&self) {
        // Nobody runs now. Should anything in here panic, it is the main greenlet that unwinds.
        self.current.set(self.main.hub_ref());
        if self.ready.is_empty() {
            self.crowd.set(0);
        }
        self.crowd_runs.set(self.tick);
        self.runs.set(if self.crowd.get() == 0 { self.tick } else { 0 });
        self.shared.gauges.turns.add(1);
        self.drain_inbox();
        if self.urgent.is_empty() && self.ready.is_empty() {
            self.sleep_unless_there_are_jobs();
        } else {
            self.poll(Some(Duration::ZERO));
        }
        self.fire_timers();
    }

    fn sleep_unless_there_are_jobs(&self) {
        let Some(member) = self.member.get() else { return self.sleep() };
        if member.fall_asleep() {
            self.sleep();
        } else {
            self.poll(Some(Duration::ZERO));
        }
        member.wake_up();
    }

    pub(crate) fn sleep(&self) {
        let deadline = self.timers.borrow_mut().next_deadline().map(|nanos| self.instant(nanos));
        let hopeless = deadline.is_none() && self.watching.get() == 0 && self.outside.get() == 0;
        let look_at = (hopeless && self.hopeless_looks.get() < deadlock::LOOKS && self.somebody_waits())
            .then(|| self.hopeless_look_at.get().unwrap_or_else(|| Instant::now() + deadlock::LOOK_INTERVAL));
        self.hopeless_look_at.set(look_at);
        let until = [deadline, look_at, self.trim_at.get()].into_iter().flatten().min();
        // The looks for a deadlock belong to one sleep, before which it has spun.
        if self.hopeless_looks.get() == 0 && self.polling.poll(until, || self.has_come()) {
            return;
        }
        // Not where descriptors are watched as well: those would be late.
        if self.watching.get() == 0 && self.spin.watch(until, || self.shared.inbox.has_messages()) {
            return self.drain_inbox();
        }
        self.shared.hopeless.store(hopeless, Ordering::Relaxed);
        self.shared.sleeps.fetch_add(1, Ordering::Relaxed);
        if !self.shared.inbox.announce_sleep() {
            self.drain_inbox();
            // Descriptors are looked at even so: what is ripe there wins over the timers that are fired next.
            self.poll(Some(Duration::ZERO));
            return;
        }
        if !hopeless {
            self.stirred.set(true);
        } else if self.stirred.take() {
            deadlock::look_again();
        }
        self.shared.gauges.fall_asleep(crate::sys::nanos_now());
        if self.poller.get().is_some() {
            self.poll(until.map(|until| until.saturating_duration_since(Instant::now())));
        } else {
            self.shared.sleep(until);
        }
        let slept = self.shared.gauges.wake_up(crate::sys::nanos_now());
        if self.shared.inbox.is_sleeping() && look_at.is_some_and(|at| Instant::now() >= at) {
            self.hopeless_look_at.set(None);
            self.hopeless_looks.set(self.hopeless_looks.get() + 1);
            deadlock::check(self, self.hopeless_looks.get());
        }
        if !self.shared.inbox.is_sleeping() {
            self.spin.slept(slept);
        }
        self.drain_inbox();
        self.trim();
    }

    /// Takes what has come from other threads and descriptors; false if nothing has.
    fn has_come(&self) -> bool {
        let messages = self.shared.inbox.has_messages();
        if messages {
            self.drain_inbox();
        }
        self.poll(Some(Duration::ZERO)) || messages
    }

    /// Takes what other threads have left, and says that the hub is awake.
    pub(crate) fn drain_inbox(&self) {
        if self.forked.get() {
            self.settle_in_child();
        }
        if !self.shared.inbox.has_messages() && !self.shared.inbox.is_sleeping() {
            return;
        }
        for message in self.shared.inbox.take() {
            self.hopeless_looks.set(0);
            self.hopeless_look_at.set(None);
            if let Some(member) = self.member.get() {
                member.stir();
            }
            if matches!(message, Message::LookAgain) {
                continue;
            }
            self.stirred.set(true);
            match message {
                Message::Spawn { hub, job } => self.take_in(hub, job),
                Message::Wake(block) if block.hub() == self.id => self.ready.push(block.hub_ref()),
                Message::Kill(block) if block.hub() == self.id => self.start_now(block.hub_ref()),
                Message::Link { hub, number } if hub == self.id => self.run_link(number, true),
                Message::Forget { hub, slot, generation } if hub == self.poller_number() => {
                    self.forget_slot(slot, generation)
                }
                Message::List { hub, report } if hub == self.id => report.list(self),
                Message::Deadlock { hub, others } if hub == self.id => self.end_by_deadlock(&others),
                // For a hub that has ended and left its place to this one, by somebody who was slow.
                Message::Wake(_)
                | Message::Kill(_)
                | Message::Link { .. }
                | Message::Forget { .. }
                | Message::List { .. }
                | Message::Deadlock { .. } => {}
                // It is awake; the loop looks for jobs.
                Message::Jobs | Message::LookAgain => {}
            }
        }
    }

    /// Makes a job ready that another thread has spawned.
    fn take_in(&self, hub: u32, job: Stray) {
        let job = job.adopt(self);
        if hub == self.id {
            job.set_coming();
            self.ready.push(job);
        } else {
            self.shared.one_has_come();
            // Its hub has ended; but this is no place for what the user's destructors may do.
            let current = self.current();
            self.refuse(job, JoinError::HubEnded);
            self.current.set(current);
            job.finish();
        }
    }

    /// Whether anybody waits here: a greenlet, or a main greenlet that does not merely serve a pool.
    fn somebody_waits(&self) -> bool {
        self.member.get().is_none() || !self.started.borrow().is_empty()
    }

    /// Waits for descriptors, and for other threads if the hub has announced that it sleeps; true if that has ended a wait.
    fn poll(&self, timeout: Option<Duration>) -> bool {
        let Some(poller) = self.poller.get() else { return false };
        if self.watching.get() == 0 && timeout == Some(Duration::ZERO) {
            return false;
        }
        let mut any = false;
        poller.borrow_mut().poll(timeout, |waiter| {
            let ended = self.end_wait(waiter, State::Notified);
            any |= ended;
            ended
        });
        any
    }

    pub(crate) fn fire_timers(&self) {
        let mut timers = self.timers.borrow_mut();
        if timers.is_empty() {
            return;
        }
        let now = self.nanos(Instant::now());
        for _ in 0..FIRES_PER_LOOK {
            let Some(timed) = timers.pop_due(now) else { break };
            if timed.number == 0 {
                self.ready.push(timed.block);
            } else if timed.number & Timed::SCOPE != 0 {
                if timed.block.expire(timed.number & !Timed::SCOPE) {
                    self.urgent.push(timed.block);
                }
            } else {
                self.end_wait(timed, State::TimedOut);
            }
        }
    }

    /// Ends a wait that this look found to be over; false if it was already.
    pub(crate) fn end_wait(&self, waiter: Timed, state: State) -> bool {
        let ended = waiter.block.word.end(waiter.number, state);
        if ended == Ended::Asleep {
            self.urgent.push(waiter.block);
        }
        ended != Ended::Stale
    }

    /// Counts one who wakes the next waiter of a descriptor; false if that is for the next look to do.
    pub(crate) fn may_pass_on_before_look(&self) -> bool {
        let turn = self.shared.gauges.turns.get();
        let (last, count) = self.passed_on.get();
        let count = if last == turn { count } else { 0 };
        self.passed_on.set((turn, count + 1));
        count < PASSED_ON_PER_LOOK
    }

    /// Gives the memory of coroutines back that have long been idle, a batch at a time.
    fn trim(&self) {
        let Some(at) = self.trim_at.get() else { return };
        let now = Instant::now();
        if now < at {
            return;
        }
        let mut pool = self.pool.borrow_mut();
        let trimmed = pool.trim(KEPT_IDLE);
        self.trim_at.set(match trimmed {
            // There are more; the next sleep goes on at once, unless something is ready by then.
            TRIM_BATCH => Some(now),
            _ => (pool.idle() > KEPT_IDLE).then(|| now + TRIM_INTERVAL),
        });
    }
}
