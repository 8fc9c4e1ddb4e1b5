//! Scopes: their greenlets borrow, so none of them outlives the scope, however that ends.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use greenlet_hub::{
    Greenlet, JoinError, Reason, Scope, Wait, current, local, no_switch, scope, shield, sleep, spawn, task_group,
    timeout, yield_now,
};

use crate::child::alone_in_child;
use crate::support::{HANG, OnDrop, Trace, timed};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

fn wait_for_ever(text: &'static str) {
    Wait::begin(Reason::new(text)).notified(None);
}

/// A value on the stack that must not be touched after the scope.
struct Guarded(Cell<bool>);

impl Guarded {
    fn new() -> Guarded {
        Guarded(Cell::new(true))
    }

    #[track_caller]
    fn touch(&self) {
        assert!(self.0.get(), "it is gone");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[test]
fn children_borrow_and_are_waited_for() {
    let words = [String::from("a"), String::from("bc")];
    let total = Cell::new(0);
    let result = scope(|s| {
        for word in &words {
            let total = &total;
            s.spawn(move || {
                sleep(2 * MS);
                total.set(total.get() + word.len());
            });
        }
        assert_eq!(total.get(), 0);
        "value"
    });
    assert_eq!((result, total.get()), ("value", 3));
}

#[test]
fn an_empty_scope_does_not_switch() {
    let ran = Rc::new(Cell::new(false));
    spawn({
        let ran = Rc::clone(&ran);
        move || ran.set(true)
    });
    assert_eq!(scope(|_| 1), 1);
    assert!(!ran.get());
}

#[test]
fn children_start_in_the_order_of_their_spawns_and_give_results_that_borrow() {
    let text = String::from("one two three");
    let trace = Trace::default();
    let lengths = scope(|s| {
        let children: Vec<_> = text
            .split(' ')
            .map(|word| {
                let trace = &trace;
                s.spawn(move || {
                    trace.note(word);
                    word
                })
            })
            .collect();
        children.into_iter().map(|child| child.join().unwrap()).collect::<Vec<&str>>()
    });
    assert_eq!(lengths, ["one", "two", "three"]);
    assert_eq!(trace.take(), "one two three");
}

#[test]
fn a_child_spawns_children_into_the_scope_also_in_its_last_moment() {
    fn descend<'scope>(s: &'scope Scope<'scope, '_>, depth: u32, count: &'scope Cell<u32>) {
        count.set(count.get() + 1);
        if depth > 0 {
            s.spawn(move || descend(s, depth - 1, count));
            s.spawn(move || {
                yield_now();
                descend(s, depth - 1, count);
            });
        }
    }
    let count = Cell::new(0);
    scope(|s| descend(s, 6, &count));
    assert_eq!(count.get(), 127);
}

#[test]
fn a_childs_panic_stays_with_its_handle() {
    let survived = Cell::new(false);
    let payload = scope(|s| {
        let fails = s.spawn(|| resume_unwind(Box::new("child")));
        s.spawn(|| {
            sleep(2 * MS);
            survived.set(true);
        });
        let Err(JoinError::Panicked(payload)) = fails.join() else { panic!("it panicked") };
        payload
    });
    assert_eq!(*payload.downcast::<&str>().unwrap(), "child");
    assert!(survived.get());
}

#[test]
fn the_panic_of_the_body_kills_the_children_and_goes_on_when_their_cleanup_is_over() {
    let guarded = Guarded::new();
    let (cleaned, ran) = (Cell::new(0), Cell::new(false));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let guarded = &guarded;
        scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    let _cleanup = OnDrop(|| {
                        sleep(2 * MS);
                        guarded.touch();
                        cleaned.set(cleaned.get() + 1);
                    });
                    sleep(LONG);
                    ran.set(true);
                });
            }
            yield_now();
            s.spawn(|| ran.set(true));
            panic_any("body");
        })
    }));
    drop(guarded);
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "body");
    // Those that had started cleaned up; the one that had not never ran.
    assert_eq!((cleaned.get(), ran.get()), (3, false));
}

#[test]
fn a_kill_in_the_body_and_one_in_the_join_end_the_children_first() {
    for in_body in [true, false] {
        let trace = Trace::default();
        let greenlet = spawn({
            let trace = trace.clone();
            move || {
                let _last = OnDrop(|| trace.note("owner"));
                let guarded = Guarded::new();
                scope(|s| {
                    s.spawn(|| {
                        let _cleanup = OnDrop(|| {
                            sleep(2 * MS);
                            guarded.touch();
                            trace.note("child");
                        });
                        sleep(LONG);
                    });
                    if in_body {
                        sleep(LONG);
                    }
                });
                trace.note("after");
            }
        });
        yield_now();
        yield_now();
        greenlet.kill().unwrap();
        assert!(matches!(greenlet.join(), Err(JoinError::Killed)));
        assert_eq!(trace.take(), "child owner", "{in_body}");
    }
}

#[test]
fn an_outer_timeout_ends_the_children_and_is_raised_afterwards() {
    for in_body in [true, false] {
        let (cleaned, after) = (Cell::new(false), Cell::new(false));
        let (took, result) = timed(|| {
            timeout(5 * MS, || {
                scope(|s| {
                    s.spawn(|| {
                        let _cleanup = OnDrop(|| {
                            sleep(10 * MS);
                            cleaned.set(true);
                        });
                        sleep(LONG);
                    });
                    if in_body {
                        sleep(LONG);
                    }
                });
                after.set(true);
            })
        });
        assert!(result.is_err() && cleaned.get() && !after.get(), "{in_body}");
        assert!(took >= 15 * MS && took < HANG, "{took:?}");
    }
}

#[test]
fn a_timeout_within_the_body_leaves_the_children_alone() {
    let done = Cell::new(false);
    scope(|s| {
        s.spawn(|| {
            sleep(10 * MS);
            done.set(true);
        });
        assert!(timeout(MS, || sleep(LONG)).is_err());
        assert!(!done.get());
    });
    assert!(done.get());
}

#[test]
fn a_child_that_resists_is_waited_for() {
    // One that catches its kill a few times, and one in a shield.
    let (caught, shielded) = (Cell::new(0), Cell::new(false));
    let result = timeout(2 * MS, || {
        scope(|s| {
            s.spawn(|| {
                while caught.get() < 5 {
                    if catch_unwind(|| sleep(LONG)).is_err() {
                        caught.set(caught.get() + 1);
                    }
                }
            });
            s.spawn(|| {
                shield(|| {
                    sleep(20 * MS);
                    shielded.set(true);
                })
            });
        })
    });
    assert!(result.is_err());
    assert!(caught.get() == 5 && shielded.get());
}

#[test]
fn a_second_interrupt_in_the_join_changes_nothing() {
    let cleaned = Rc::new(Cell::new(false));
    let owner = spawn({
        let cleaned = Rc::clone(&cleaned);
        move || {
            let _ = timeout(2 * MS, || {
                scope(|s| {
                    s.spawn(|| {
                        let _cleanup = OnDrop(|| {
                            sleep(300 * MS);
                            cleaned.set(true);
                        });
                        sleep(LONG);
                    });
                })
            });
            sleep(LONG);
        }
    });
    sleep(5 * MS);
    assert!(!cleaned.get());
    owner.kill_nowait().unwrap();
    owner.kill().unwrap();
    assert!(cleaned.get());
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
}

#[test]
fn nested_scopes_end_from_the_inside_out() {
    let trace = Trace::default();
    let result = timeout(2 * MS, || {
        scope(|outer| {
            outer.spawn(|| {
                let _cleanup = OnDrop(|| trace.note("outer"));
                scope(|inner| {
                    inner.spawn(|| {
                        let _cleanup = OnDrop(|| {
                            sleep(2 * MS);
                            trace.note("inner");
                        });
                        sleep(LONG);
                    });
                });
            });
        })
    });
    assert!(result.is_err());
    assert_eq!(trace.take(), "inner outer");
}

#[test]
fn a_child_kills_the_owner_a_sibling_and_itself() {
    let trace = Trace::default();
    let owner = spawn({
        let trace = trace.clone();
        move || {
            let (owner, trace) = (&current(), &trace);
            scope(|s| {
                let sibling = s.spawn(|| sleep(LONG));
                s.spawn(move || {
                    yield_now();
                    sibling.kill().unwrap();
                    trace.note(sibling.is_finished());
                    s.spawn(|| {
                        let _cleanup = OnDrop(|| trace.note("itself"));
                        current().kill().unwrap();
                    });
                    yield_now();
                    yield_now();
                    let _cleanup = OnDrop(|| trace.note("waits for its owner"));
                    owner.kill().unwrap();
                    trace.note("never");
                });
            });
            trace.note("nor here");
        }
    });
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
    assert_eq!(trace.take(), "true itself waits for its owner");
}

#[test]
fn a_child_that_was_never_started_drops_what_it_borrows_before_the_scope_ends() {
    struct Count<'a>(&'a Cell<u32>);
    impl Drop for Count<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    let count = Cell::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            for _ in 0..3 {
                let held = Count(&count);
                s.spawn(move || drop(held));
            }
            // No start, for these are killed where they stand.
            resume_unwind(Box::new(()));
        })
    }));
    assert!(caught.is_err());
    assert_eq!(count.get(), 3);
}

trait Anything {}
impl<T> Anything for T {}

#[test]
fn a_result_that_borrows_is_dropped_before_the_scope_ends() {
    struct Touches<'a>(&'a Guarded, &'a Cell<u32>);
    impl Drop for Touches<'_> {
        fn drop(&mut self) {
            // Waiting makes it late, if it may be.
            yield_now();
            self.0.touch();
            self.1.set(self.1.get() + 1);
        }
    }

    let drops = Cell::new(0);
    {
        let guarded = Guarded::new();
        scope(|s| {
            // Detached before it runs; while it runs; taken; kept till the end of the body; in another's result.
            drop(s.spawn(|| Touches(&guarded, &drops)));
            let during = s.spawn(|| {
                sleep(MS);
                Touches(&guarded, &drops)
            });
            yield_now();
            drop(during);
            drop(s.spawn(|| Touches(&guarded, &drops)).join());
            let kept = s.spawn(|| Touches(&guarded, &drops));
            let inner = s.spawn(|| Touches(&guarded, &drops));
            drop(s.spawn(move || inner));
            // In a cycle of handles: this one is leaked, and never touches anything again.
            let own: Rc<RefCell<Option<Box<dyn Anything + '_>>>> = Rc::default();
            let handle = s.spawn({
                let (own, guarded, drops) = (Rc::clone(&own), &guarded, &drops);
                move || (own, Touches(guarded, drops))
            });
            own.borrow_mut().replace(Box::new(handle));
            yield_now();
            drop(kept);
        });
        assert_eq!(drops.get(), 5);
    }
}

#[test]
fn a_forgotten_handle_does_not_let_the_child_go() {
    let done = Cell::new(false);
    scope(|s| {
        std::mem::forget(s.spawn(|| {
            sleep(2 * MS);
            done.set(true);
        }));
    });
    assert!(done.get());
}

#[test]
fn a_child_without_a_stack_has_ended_and_dropped_what_it_borrows() {
    let ended = alone_in_child("scope::a_child_without_a_stack_has_ended_and_dropped_what_it_borrows", || {
        let dropped = Cell::new(0);
        // SAFETY: a plain system call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &libc::rlimit { rlim_cur: 1, rlim_max: 1 }) }, 0);
        scope(|s| {
            let guard = OnDrop(|| dropped.set(dropped.get() + 1));
            let refused = s.spawn(move || drop(guard));
            assert!(matches!(refused.join(), Err(JoinError::NoStack(_))));
            let guard = OnDrop(|| dropped.set(dropped.get() + 1));
            s.spawn(move || drop(guard));
        });
        assert_eq!(dropped.get(), 2);
    });
    ended.check();
}

#[test]
fn a_scope_works_in_a_link_a_locals_destructor_a_shield_a_timeout_and_an_unwind() {
    fn sum(numbers: &[u32]) -> u32 {
        let sum = Cell::new(0);
        scope(|s| {
            for number in numbers {
                let sum = &sum;
                s.spawn(move || {
                    sleep(MS);
                    sum.set(sum.get() + number);
                });
            }
        });
        sum.get()
    }

    struct Scoped(Trace);
    impl Drop for Scoped {
        fn drop(&mut self) {
            self.0.note(format_args!("local {}", sum(&[1, 2])));
        }
    }
    local! { static SCOPED: RefCell<Option<Scoped>> = RefCell::new(None); }

    let trace = Trace::default();
    let greenlet = spawn({
        let trace = trace.clone();
        move || SCOPED.with(|scoped| scoped.replace(Some(Scoped(trace))).is_some())
    });
    greenlet.link({
        let trace = trace.clone();
        move |_| trace.note(format_args!("link {}", sum(&[3, 4])))
    });
    greenlet.join().unwrap();
    sleep(5 * MS);
    trace.note(format_args!("shield {}", shield(|| sum(&[5, 6]))));
    trace.note(format_args!("timeout {}", timeout(HANG, || sum(&[7, 8])).unwrap()));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _in_the_unwind = OnDrop(|| trace.note(format_args!("unwind {}", sum(&[9, 10]))));
        resume_unwind(Box::new(()));
    }));
    assert!(caught.is_err());
    let killed = spawn({
        let trace = trace.clone();
        move || {
            let _in_the_unwind = OnDrop(|| trace.note(format_args!("kill {}", sum(&[11, 12]))));
            sleep(LONG);
        }
    });
    yield_now();
    killed.kill().unwrap();
    assert_eq!(trace.take(), "local 3 link 7 shield 11 timeout 15 unwind 19 kill 23");
}

#[test]
fn a_scope_works_in_the_destructor_of_a_thread_local() {
    struct AtTheEnd;
    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let text = String::from("borrowed");
            let length = scope(|s| {
                let child = s.spawn(|| {
                    yield_now();
                    text.len()
                });
                child.join().unwrap()
            });
            assert_eq!(length, 8);
        }
    }
    thread_local! { static AT_THE_END: AtTheEnd = const { AtTheEnd }; }

    // Before the hub's own end, and after it.
    for before in [true, false] {
        let thread = thread::spawn(move || {
            if before {
                yield_now();
            }
            AT_THE_END.with(|_| ());
            yield_now();
        });
        thread.join().unwrap();
    }
}

#[test]
fn a_thread_that_ends_under_a_scope_leaks_it() {
    let greenlet = thread::spawn(|| {
        let greenlet = spawn(|| {
            let guarded = Guarded::new();
            let _leaked = OnDrop(|| unreachable!("its stack is left where it is"));
            scope(|s| {
                let guarded = &guarded;
                s.spawn(move || {
                    sleep(LONG);
                    guarded.touch();
                });
                s.spawn(move || guarded.touch());
            });
        });
        yield_now();
        greenlet
    });
    let greenlet = greenlet.join().unwrap();
    assert!(matches!(greenlet.join(), Err(JoinError::HubEnded)));
}

#[test]
fn a_scope_inside_no_switch_panics_at_the_call() {
    let ran = Cell::new(false);
    let caught = catch_unwind(AssertUnwindSafe(|| no_switch(|| scope(|_| ran.set(true)))));
    assert!(caught.is_err() && !ran.get());
    // In the body it is the wait that panics, and the children are ended as always.
    let caught = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            let child = s.spawn(|| ran.set(true));
            no_switch(|| child.join())
        })
    }));
    assert!(caught.is_err() && !ran.get());
}

#[test]
fn ten_thousand_children_leave_only_those_that_live_in_the_list() {
    let count = Cell::new(0);
    scope(|s| {
        for _ in 0..10_000 {
            s.spawn(|| count.set(count.get() + 1));
            if count.get() % 100 == 0 {
                yield_now();
            }
        }
    });
    assert_eq!(count.get(), 10_000);
}

#[test]
fn a_deadlock_in_the_join_kills_the_children_and_is_raised_afterwards() {
    let ended = alone_in_child("scope::a_deadlock_in_the_join_kills_the_children_and_is_raised_afterwards", || {
        let cleaned = Cell::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                for _ in 0..2 {
                    s.spawn(|| {
                        let _cleanup = OnDrop(|| {
                            sleep(5 * MS);
                            cleaned.set(cleaned.get() + 1);
                        });
                        wait_for_ever("Godot");
                    });
                }
            })
        }));
        assert_eq!(cleaned.get(), 2);
        let report = caught.unwrap_err().downcast::<String>().expect("a report");
        assert!(report.contains("deadlock") && report.contains("the end of a scope's child"), "{report}");
        assert_eq!(report.matches("Godot").count(), 2, "{report}");
        // The main greenlet goes on.
        assert_eq!(scope(|s| s.spawn(|| 1).join().unwrap()), 1);
    });
    ended.check();
}

#[test]
fn a_deadlock_is_main_s_though_children_leave_scopes_of_their_own_meanwhile() {
    // The report waits until main's children have ended; a scope that one of them leaves must not take it.
    let name = "scope::a_deadlock_is_main_s_though_children_leave_scopes_of_their_own_meanwhile";
    let ended = alone_in_child(name, || {
        for in_body in [true, false] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    s.spawn(|| {
                        scope(|inner| {
                            inner.spawn(|| wait_for_ever("Godot"));
                            if in_body {
                                wait_for_ever("Pozzo");
                            }
                        })
                    });
                    s.spawn(|| {
                        let _: Result<(), ()> = task_group(|group| {
                            group.spawn(|| -> Result<(), ()> {
                                wait_for_ever("Lucky");
                                Ok(())
                            });
                            if in_body {
                                wait_for_ever("the boy");
                            }
                            Ok(())
                        });
                    });
                })
            }));
            let report = caught.unwrap_err().downcast::<String>().expect("a report");
            assert!(report.contains("Godot") && report.contains("Lucky"), "{report}");
        }
    });
    ended.check();
}

#[test]
fn a_deadlock_that_the_children_do_not_end_for_is_printed_and_aborts() {
    let name = "scope::a_deadlock_that_the_children_do_not_end_for_is_printed_and_aborts";
    let ended = alone_in_child(name, || {
        scope(|s| {
            s.spawn(|| shield(|| wait_for_ever("Godot")));
        });
    });
    assert_eq!(ended.status.code(), Some(128 + libc::SIGABRT), "{}", ended.stderr);
    assert!(ended.stderr.contains("waits for Godot"), "{}", ended.stderr);
}

#[test]
fn a_deadlock_in_a_shield_is_raised_and_one_in_an_unwind_aborts() {
    let name = "scope::a_deadlock_in_a_shield_is_raised_and_one_in_an_unwind_aborts";
    let ended = alone_in_child(name, || {
        let caught = catch_unwind(|| shield(|| wait_for_ever("a shield")));
        assert!(caught.unwrap_err().downcast::<String>().unwrap().contains("a shield"));
        // The shield is lowered.
        assert!(timeout(MS, || sleep(LONG)).is_err());
        let _ = catch_unwind(|| {
            let _waits = OnDrop(|| wait_for_ever("an unwind"));
            resume_unwind(Box::new(()));
        });
    });
    assert_eq!(ended.status.code(), Some(128 + libc::SIGABRT), "{}", ended.stderr);
    assert!(ended.stderr.contains("waits for an unwind"), "{}", ended.stderr);
}

/// What the greenlets of a random tree share.
struct Tree {
    alive: Cell<u32>,
    random: Cell<u64>,
    victims: mpsc::Sender<Greenlet>,
}

impl Tree {
    fn random(&self, below: u64) -> u64 {
        // Knuth's linear congruential generator.
        self.random
            .set(self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        (self.random.get() >> 33) % below
    }

    fn wait(&self) {
        match self.random(4) {
            0 => {}
            1 => yield_now(),
            _ => sleep(Duration::from_micros(self.random(300))),
        }
    }

    fn grow(&self, depth: u32, parent: &Guarded) {
        let guarded = Guarded::new();
        self.alive.set(self.alive.get() + 1);
        let _at_the_end = OnDrop(|| {
            // Where it does not unwind, a kill would cut this off.
            shield(|| self.wait());
            parent.touch();
            guarded.touch();
            self.alive.set(self.alive.get() - 1);
        });
        if self.random(5) == 0 {
            self.victims.send(current()).unwrap();
        }
        self.wait();
        if depth == 0 {
            return;
        }
        let branch = || {
            scope(|s| {
                for _ in 0..2 {
                    s.spawn(|| self.grow(depth - 1, &guarded));
                }
                self.wait();
            });
        };
        match self.random(5) {
            0 | 1 => branch(),
            2 => drop(timeout(Duration::from_micros(self.random(1000)), branch)),
            3 => shield(branch),
            _ => {
                let _: Result<(), u64> = task_group(|group| {
                    for _ in 0..3 {
                        group.spawn(|| {
                            self.grow(depth - 1, &guarded);
                            if self.random(4) == 0 { Err(1) } else { Ok(()) }
                        });
                    }
                    self.wait();
                    if self.random(8) == 0 { Err(2) } else { Ok(()) }
                });
            }
        }
        self.wait();
    }
}

#[test]
fn random_trees_of_scopes_leave_nothing_behind_when_another_thread_kills_in_them() {
    let (victims, receive) = mpsc::channel::<Greenlet>();
    let killer = thread::spawn(move || {
        for (round, victim) in receive.iter().enumerate() {
            // The main greenlet is among them and says no.
            let _ = if round % 7 == 0 { victim.kill() } else { victim.kill_nowait() };
        }
    });
    for seed in 0..60 {
        let tree = Tree { alive: Cell::new(0), random: Cell::new(seed), victims: victims.clone() };
        let root = Guarded::new();
        let _ = timeout(Duration::from_millis(seed % 20), || {
            scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| tree.grow(4, &root));
                }
            })
        });
        assert_eq!(tree.alive.get(), 0, "seed {seed}");
        assert!(!thread::panicking());
    }
    drop(victims);
    killer.join().unwrap();
    // Nothing pending is left on the main greenlet.
    sleep(MS);
}
