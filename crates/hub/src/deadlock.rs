//! The report of a wait that nothing can end.
//!
//! A hub that is about to sleep with no timer, no descriptor and no job outside can only be woken by another hub or by a
//! thread that is none of ours. So it looks, once a second for ten seconds, whether *every* hub of the process sleeps like
//! that, and whether the process has any other thread at all, but for idle ones of our pools. If there is none, each waiting main greenlet gets a panic
//! that says who waits for what. If there is one, nothing is raised, for it may yet wake somebody: after ten
//! seconds one line, once a process, says that only it can.
//!
//! A hub that has looked ten times in vain looks again when another hub has fallen asleep for good, after it had run something, or has ended, and
//! when the last of the thread pools' jobs has: so those may take as long as they like, and nobody wakes just to look.
//!
//! The hubs of a pool have no main greenlet that could be told; they only serve. So they are asked first who waits on them, and the main
//! greenlets are told that as well.
//!
//! Where the main greenlet cannot be unwound, since it is a wait in the panic hook that nothing can end, the report is printed and the
//! process aborted.
//!
//! **No false alarm.** The hubs are looked at one by one, so one could wake and another fall asleep in between. Hence
//! two looks: if in both every hub sleeps with an empty inbox, and none has slept a new sleep between them, then at
//! one moment all of them slept with nothing on the way. (A hub that was left a message does not count as sleeping
//! even before it wakes: the announcement and the messages share a word.) The list is locked meanwhile, so only one hub decides.
//! Threads of our pools that wait for jobs are counted between the two looks, and have to be the same before and after the threads of
//! the process are counted: see `thread_pool/workers.rs`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::greenlet::Greenlet;
use crate::hub::Hub;
use crate::shared::{Message, Shared, all_hubs};
use crate::sys::count_threads;
use crate::thread_pool::IdleThreads;

/// How long a hub has slept, at the least, when it looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// So many looks it takes, unless something runs in between.
pub(crate) const LOOKS: u32 = 10;
/// So many greenlets are listed.
const LISTED: usize = 100;

/// Whether any hub has looked so often that it does not any more.
static SOMEBODY_GAVE_UP: AtomicBool = AtomicBool::new(false);

/// As [`look_again`], when none of the pools' threads has a job any more. Called by one that has none.
pub(crate) fn look_again_without_jobs() {
    if IdleThreads::now().are_all() {
        look_again();
    }
}

/// Has those look again who have looked too often already. Called by a hub that has announced that it sleeps for good, or that has ended.
pub(crate) fn look_again() {
    // Of this one, which sleeps first and looks then, and of one that gives up first and looks once more then, one sees the other.
    fence(Ordering::SeqCst);
    if !SOMEBODY_GAVE_UP.load(Ordering::Relaxed) || !SOMEBODY_GAVE_UP.swap(false, Ordering::AcqRel) {
        return;
    }
    for hub in &all_hubs().alive {
        if hub.gave_up.swap(false, Ordering::AcqRel) {
            hub.send(Message::LookAgain);
        }
    }
}

/// Looks whether nothing can wake any hub of the process. Called by a hub that has announced that it sleeps.
pub(crate) fn check(hub: &Hub, looks: u32) {
    if looks == LOOKS {
        hub.shared().gave_up.store(true, Ordering::Release);
        SOMEBODY_GAVE_UP.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
    }
    let hubs = all_hubs();
    let before = sleeps(&hubs.alive);
    let idle = IdleThreads::now();
    let threads = before.as_ref().and_then(|_| count_threads());
    let is_alone = threads == Some(hubs.alive.len() + idle.count()) && idle == IdleThreads::now();
    let is_for_good = before.is_some() && before == sleeps(&hubs.alive);
    if is_for_good && is_alone {
        let serves = |hub: &&Shared| hub.serves.load(Ordering::Relaxed);
        let (serving, others): (Vec<&'static Shared>, Vec<_>) = hubs.alive.iter().copied().partition(serves);
        let mains = others.into_iter().map(|hub| (hub, hub.id())).collect();
        let report = Arc::new(Report { lists: Mutex::new((String::new(), LISTED)), mains });
        for hub in serving {
            hub.send(Message::List { hub: hub.id(), report: Arc::clone(&report) });
        }
        return;
    }
    drop(hubs);
    // A job that runs is hope, even if nobody who sleeps here is known to wait for it.
    if looks == LOOKS && is_for_good && IdleThreads::now().are_all() {
        say_once(hub);
    }
}

/// What the pools' hubs say; the last to let go of it tells the main greenlets.
pub(crate) struct Report {
    /// And how many greenlets may still be listed.
    lists: Mutex<(String, usize)>,
    mains: Vec<(&'static Shared, u32)>,
}

impl Report {
    /// Adds who waits on this hub, which serves a pool.
    pub(crate) fn list(&self, hub: &Hub) {
        let mut lists = crate::patching::lock(&self.lists);
        let (text, left) = &mut *lists;
        *left = list(hub, *left, text);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let (text, _) = self.lists.get_mut().unwrap_or_else(PoisonError::into_inner);
        let others: Arc<str> = mem::take(text).into();
        for (shared, hub) in &self.mains {
            shared.send(Message::Deadlock { hub: *hub, others: Arc::clone(&others) });
        }
    }
}

/// The number of each hub's sleep, if all of them sleep for good.
fn sleeps(hubs: &[&'static Shared]) -> Option<Vec<u64>> {
    let sleep = |hub: &&'static Shared| {
        let hopeless = hub.inbox.is_sleeping() && hub.hopeless.load(Ordering::Acquire);
        hopeless.then(|| hub.sleeps.load(Ordering::Acquire))
    };
    hubs.iter().map(sleep).collect()
}

/// What the main greenlet of this hub raises; `others`: who waits on the hubs of pools.
pub(crate) fn report(hub: &Hub, others: &str) -> String {
    let mut report = String::from("deadlock: nothing can wake any hub of this process\n");
    list(hub, LISTED, &mut report);
    report + others
}

/// Ends the process with the report.
pub(crate) fn abort(report: &str) -> ! {
    let _ = std::io::stderr().write_all(report.as_bytes());
    std::process::abort()
}

/// Whether the one line was said that a process says.
static SAID: AtomicBool = AtomicBool::new(false);

/// In a forked child nothing was said yet, and nobody has given up.
pub(crate) fn begin_anew() {
    SAID.store(false, Ordering::Relaxed);
    SOMEBODY_GAVE_UP.store(false, Ordering::Relaxed);
}

fn say_once(hub: &Hub) {
    if !SAID.swap(true, Ordering::Relaxed) {
        let mut text = format!(
            "greenlet: for {} s nothing of this hub could run, and only a thread that is not a hub can end that\n",
            (LOOK_INTERVAL * LOOKS).as_secs()
        );
        list(hub, LISTED, &mut text);
        // Whether stderr can be written to is not this hub's concern.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

/// Lists who waits on a hub, at the most `most` greenlets; how many more might be listed.
fn list(hub: &Hub, most: usize, out: &mut String) -> usize {
    let thread = std::thread::current();
    let main = hub.main();
    let mut waiting = hub.waiting();
    waiting.extend(hub.lone());
    if hub.member().is_some() {
        if !waiting.is_empty() {
            let _ = writeln!(out, "  on thread '{}', which serves a pool:", thread.name().unwrap_or("?"));
        }
    } else if main.word.open_number().is_some() {
        let _ = writeln!(
            out,
            "  the main greenlet of thread '{}' waits for {}",
            thread.name().unwrap_or("?"),
            main.hub_ref().local().reason.get()
        );
    }
    for greenlet in waiting.iter().take(most) {
        let _ = writeln!(out, "  {} waits for {}", Greenlet::label(greenlet), greenlet.local().reason.get());
    }
    if let Some(more @ 1..) = waiting.len().checked_sub(most) {
        let _ = writeln!(out, "  and {more} more");
    }
    most.saturating_sub(waiting.len())
}
