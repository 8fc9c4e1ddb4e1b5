//! `Group`: who is a member, and what becomes of all of them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use greenlet_hub::{JoinError, Waitable, current, no_switch, shield, sleep, spawn, timeout, wait, yield_now};
use greenlet_sync::{Event, Group};

const MS: Duration = Duration::from_millis(1);
const HANG: Duration = Duration::from_secs(20);

#[test]
fn members_leave_when_they_end() {
    let group = Group::new();
    let stop = Rc::new(Event::new());
    let members: Vec<_> = (0..3)
        .map(|_| {
            group.spawn({
                let stop = Rc::clone(&stop);
                move || stop.wait()
            })
        })
        .collect();
    group.spawn(|| ());
    group.spawn(|| {
        if true {
            panic!("a member panics")
        }
    });
    assert_eq!(group.len(), 5);
    yield_now();
    assert_eq!(group.len(), 3);
    assert!(group.iter().eq(members.iter().map(|member| member.greenlet().clone())));
    members[1].kill().unwrap();
    assert!(!group.contains(&members[1]) && group.contains(&members[2]));
    stop.set();
    group.join();
    assert!(group.is_empty() && members.iter().all(|member| member.is_finished()));
}

#[test]
fn joining_an_empty_group_does_not_switch() {
    let group = Group::new();
    no_switch(|| group.join());
    assert!(no_switch(|| group.join_timeout(MS)));
    no_switch(|| group.kill()).unwrap();
}

#[test]
fn greenlets_are_added_and_discarded() {
    let group = Rc::new(Group::new());
    let member = spawn(|| sleep(HANG));
    group.add(&member);
    group.add(&member);
    assert_eq!(group.len(), 1);
    let done = spawn(|| ());
    done.wait();
    group.add(&done);
    assert_eq!(group.len(), 1);
    assert!(!group.discard(&done));
    // Whoever waits is told.
    let joined = spawn({
        let group = Rc::clone(&group);
        move || group.join()
    });
    yield_now();
    assert!(group.discard(&member));
    joined.join().unwrap();
    assert!(!member.is_finished());
    member.kill().unwrap();
}

#[test]
fn join_waits_for_those_who_come_meanwhile() {
    let group = Rc::new(Group::new());
    let last = Rc::new(Cell::new(false));
    group.spawn({
        let (group, last) = (Rc::clone(&group), Rc::clone(&last));
        move || {
            yield_now();
            let later = Rc::clone(&group);
            group.spawn(move || {
                later.spawn(move || {
                    sleep(MS);
                    last.set(true);
                });
            });
        }
    });
    group.join();
    assert!(last.get());
}

#[test]
fn join_with_a_timeout_says_whether_all_have_ended() {
    let group = Group::new();
    let member = group.spawn(|| sleep(HANG));
    assert!(!group.join_timeout(MS));
    assert!(timeout(MS, || group.join()).is_err());
    member.kill_nowait().unwrap();
    assert!(group.join_timeout(HANG));
}

#[test]
fn a_member_does_not_wait_for_itself() {
    let group = Rc::new(Group::new());
    let other = group.spawn(yield_now);
    let member = group.spawn({
        let group = Rc::clone(&group);
        move || group.join()
    });
    member.join().unwrap();
    assert!(other.is_finished());
}

#[test]
fn kill_waits_for_the_cleanup_and_reaches_those_who_are_spawned_meanwhile() {
    struct Cleanup(Rc<Group>, Rc<Cell<u32>>);
    impl Drop for Cleanup {
        fn drop(&mut self) {
            sleep(MS);
            let cleaned = Rc::clone(&self.1);
            cleaned.set(cleaned.get() + 1);
            self.0.spawn(|| sleep(HANG));
        }
    }
    let (group, cleaned) = (Rc::new(Group::new()), Rc::new(Cell::new(0)));
    for _ in 0..3 {
        let cleanup = Cleanup(Rc::clone(&group), Rc::clone(&cleaned));
        group.spawn(move || {
            let _cleanup = cleanup;
            sleep(HANG);
        });
    }
    yield_now();
    group.kill().unwrap();
    assert_eq!(cleaned.get(), 3);
    assert!(group.is_empty());
}

#[test]
fn kill_with_a_timeout_gives_up_on_those_who_resist() {
    let group = Group::new();
    group.spawn(|| shield(|| sleep(30 * MS)));
    yield_now();
    assert!(!group.kill_timeout(MS).unwrap());
    assert!(group.kill_timeout(HANG).unwrap());
}

#[test]
fn a_member_that_kills_the_group_is_killed_last() {
    let group = Rc::new(Group::new());
    let other = group.spawn(|| sleep(HANG));
    let member = group.spawn({
        let (group, other) = (Rc::clone(&group), other.greenlet().clone());
        move || {
            struct Check(greenlet_hub::Greenlet);
            impl Drop for Check {
                fn drop(&mut self) {
                    assert!(self.0.is_finished());
                }
            }
            let _check = Check(other);
            group.kill().unwrap();
            unreachable!();
        }
    });
    assert!(matches!(member.join(), Err(JoinError::Killed)));
    assert!(matches!(other.join(), Err(JoinError::Killed)));
}

#[test]
fn what_cannot_be_killed_is_said_and_the_others_are() {
    let group = Group::new();
    let main = current();
    let member = group.spawn(|| sleep(HANG));
    std::thread::scope(|s| {
        s.spawn(|| {
            group.add(&main);
            assert!(group.kill().is_err());
            assert!(member.is_finished());
        });
        while !member.is_finished() {
            sleep(MS);
        }
    });
    assert!(group.discard(&main));
}

#[test]
fn a_group_is_waited_for_with_other_things() {
    let (group, event) = (Rc::new(Group::new()), Event::new());
    for millis in [3, 1, 2] {
        group.spawn(move || sleep(millis * MS));
    }
    let objects: [&dyn Waitable; 2] = [&event, &*group];
    assert_eq!(wait(&objects, Some(1), Some(HANG)), [1]);
    assert!(group.is_empty());
    // And when its last member is discarded.
    let member = group.spawn(|| sleep(HANG));
    spawn({
        let (group, member) = (Rc::clone(&group), member.greenlet().clone());
        move || group.discard(member)
    });
    assert_eq!(wait(&objects, Some(1), Some(HANG)), [1]);
    member.kill().unwrap();
}

#[test]
fn those_who_have_ended_are_not_kept() {
    // An `Rc` in each result would be kept if the handles were; the blocks are swept.
    let group = Group::new();
    for _ in 0..100_000 {
        drop(group.spawn(|| ()));
        yield_now();
    }
    assert_eq!(group.len(), 0);
}

#[test]
fn members_of_several_hubs_are_joined_and_killed() {
    let group = Arc::new(Group::new());
    let ready: Vec<_> = (0..3).map(|_| Arc::new(Event::new())).collect();
    let threads = ready.iter().cloned().map(|ready| {
        let group = Arc::clone(&group);
        std::thread::spawn(move || {
            let member = group.spawn(move || sleep(HANG));
            ready.set();
            member.join().is_ok()
        })
    });
    let threads: Vec<_> = threads.collect();
    assert!(ready.iter().all(|ready| ready.wait_timeout(HANG)));
    assert_eq!(group.len(), 3);
    let joined = std::thread::spawn({
        let group = Arc::clone(&group);
        move || group.join_timeout(HANG)
    });
    group.kill().unwrap();
    assert!(joined.join().unwrap());
    assert!(threads.into_iter().all(|thread| !thread.join().unwrap()));
}

#[test]
fn a_group_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Group>();
    assert_eq!(format!("{:?}", Group::default()), "Group { len: 0, .. }");
}
