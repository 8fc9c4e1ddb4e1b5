//! Task groups: the first failure ends the others, and is what comes out.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use greenlet_hub::{
    Elapsed, JoinError, Reason, TaskGroup, Wait, current, scope, shield, sleep, spawn, task_group, timeout, yield_now,
};

use crate::child::alone_in_child;
use crate::support::{HANG, OnDrop, Trace};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(60);

type Done = Result<(), &'static str>;

fn sleep_long() -> Done {
    sleep(LONG);
    Ok(())
}

#[test]
fn without_a_failure_all_are_waited_for_and_the_value_comes_out() {
    let sum = Cell::new(0);
    let result: Result<i32, ()> = task_group(|group| {
        let handles = [1, 2, 3].map(|n| {
            let sum = &sum;
            group.spawn(move || {
                sleep(n as u32 * MS);
                sum.set(sum.get() + n);
                Ok(n)
            })
        });
        let [first, ..] = handles;
        Ok(first.join().unwrap())
    });
    assert_eq!((result, sum.get()), (Ok(1), 6));
}

#[test]
fn the_first_failure_kills_the_others_and_waits_for_their_cleanup() {
    let trace = Trace::default();
    let result: Done = task_group(|group| {
        group.spawn(|| {
            let _cleanup = OnDrop(|| {
                sleep(2 * MS);
                trace.note("cleanup");
            });
            sleep_long()
        });
        let failed: greenlet_hub::ScopedJoinHandle<'_, ()> = group.spawn(|| {
            yield_now();
            trace.note("fails");
            Err("first")
        });
        group.spawn(|| {
            let _later = OnDrop(|| trace.note("second"));
            let _ = catch_unwind(|| sleep(LONG));
            Err::<(), _>("second")
        });
        assert!(matches!(failed.join(), Err(JoinError::Killed)));
        sleep_long()
    });
    assert_eq!(result, Err("first"));
    assert_eq!(trace.take(), "fails second cleanup");
    // Nothing is left of it.
    sleep(2 * MS);
}

#[test]
fn a_child_s_panic_comes_out_of_the_group() {
    for body_waits in [true, false] {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            task_group(|group| {
                group.spawn(sleep_long);
                group.spawn(|| -> Done { resume_unwind(Box::new("child")) });
                if body_waits { sleep_long() } else { Ok(()) }
            })
        }));
        assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "child");
    }
}

#[test]
fn the_body_fails_by_an_error_or_a_panic_and_kills_the_children() {
    let cleaned = Cell::new(0);
    let child = || {
        let _cleanup = OnDrop(|| {
            sleep(MS);
            cleaned.set(cleaned.get() + 1);
        });
        sleep_long()
    };
    let result: Done = task_group(|group| {
        group.spawn(child);
        yield_now();
        Err("body")
    });
    assert_eq!((result, cleaned.get()), (Err("body"), 1));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        task_group(|group| -> Done {
            group.spawn(child);
            yield_now();
            resume_unwind(Box::new("body"))
        })
    }));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "body");
    assert_eq!(cleaned.get(), 2);
}

#[test]
fn a_child_that_is_killed_by_itself_has_not_failed() {
    let result: Result<i32, &str> = task_group(|group| {
        let victim = group.spawn(sleep_long);
        let other = group.spawn(|| {
            sleep(2 * MS);
            Ok(7)
        });
        group.spawn(|| {
            current().kill().unwrap();
            Ok(())
        });
        yield_now();
        victim.kill().unwrap();
        Ok(other.join().unwrap())
    });
    assert_eq!(result, Ok(7));
}

#[test]
fn once_it_has_failed_nothing_new_runs() {
    let ran = Cell::new(false);
    let result: Done = task_group(|group| {
        group.spawn(|| -> Done { Err("failed") });
        let swallowed = catch_unwind(|| sleep(LONG));
        assert!(swallowed.is_err());
        let late = group.spawn(|| {
            ran.set(true);
            Ok(())
        });
        shield(|| assert!(late.join().is_err()));
        Ok(())
    });
    assert_eq!((result, ran.get()), (Err("failed"), false));
}

#[test]
fn children_spawn_children_and_theirs_fail_for_all() {
    fn descend<'scope>(group: &'scope TaskGroup<'scope, '_, u32>, depth: u32) -> Result<(), u32> {
        if depth == 0 {
            return Err(7);
        }
        group.spawn(move || descend(group, depth - 1));
        sleep(LONG);
        Ok(())
    }
    assert_eq!(task_group(|group| descend(group, 10)), Err(7));
}

#[test]
fn nested_groups_each_end_by_their_own_failure() {
    let trace = Trace::default();
    let result: Done = task_group(|outer| {
        outer.spawn(|| {
            let inner: Done = task_group(|inner| {
                inner.spawn(|| -> Done { Err("inner") });
                sleep_long()
            });
            trace.note(inner.unwrap_err());
            Ok(())
        });
        outer.spawn(|| {
            let inner: Done = task_group(|inner| {
                inner.spawn(|| {
                    let _cleanup = OnDrop(|| trace.note("innermost"));
                    sleep_long()
                });
                Ok(())
            });
            trace.note("never");
            inner
        });
        // In one greenlet: the outer one fails while the inner one waits.
        let inner: Done = task_group(|inner| {
            inner.spawn(sleep_long);
            outer.spawn(|| {
                sleep(5 * MS);
                Err::<(), _>("outer")
            });
            Ok(())
        });
        trace.note("nor here");
        inner
    });
    assert_eq!(result, Err("outer"));
    assert_eq!(trace.take(), "inner innermost");
}

#[test]
fn a_time_out_a_kill_and_a_failure_from_outside_are_told_apart() {
    // Outside, and shorter.
    let cleaned = Cell::new(false);
    let result: Result<Done, Elapsed> = timeout(2 * MS, || {
        task_group(|group| {
            group.spawn(|| {
                let _cleanup = OnDrop(|| cleaned.set(true));
                sleep_long()
            });
            Ok(())
        })
    });
    assert!(result == Err(Elapsed) && cleaned.get());
    // Inside.
    let result: Done = task_group(|group| {
        group.spawn(|| timeout(MS, sleep_long).unwrap_or(Err("late")));
        sleep_long()
    });
    assert_eq!(result, Err("late"));
    // A failure inside a time-out of the body's own, which it passes.
    let result: Done = task_group(|group| {
        group.spawn(|| -> Done { Err("child") });
        let _ = timeout(LONG, sleep_long);
        unreachable!("the time-out does not catch the group's");
    });
    assert_eq!(result, Err("child"));
    // A kill, with a failure at the same time.
    let owner = spawn(|| {
        let _: Done = task_group(|group| {
            group.spawn(|| -> Done { Err("too") });
            current().kill_nowait().unwrap();
            sleep_long()
        });
    });
    assert!(matches!(owner.join(), Err(JoinError::Killed)));
}

#[test]
fn a_time_out_that_comes_while_the_children_end_is_raised_after_them() {
    let trace = Trace::default();
    let result = timeout(5 * MS, || {
        let result: Done = task_group(|group| {
            group.spawn(|| {
                let _slow = OnDrop(|| {
                    sleep(20 * MS);
                    trace.note("cleanup");
                });
                sleep_long()
            });
            group.spawn(|| -> Done { Err("failed") });
            sleep_long()
        });
        trace.note("never, if the join was interrupted");
        result
    });
    trace.note("over");
    // The failure ended the join, and the time-out came where nothing is raised: the next wait raises it, and there is none.
    assert!(matches!(result, Ok(Err("failed")) | Err(Elapsed)));
    assert!(trace.take().ends_with("over"));
    sleep(MS);
}

#[test]
fn a_second_failure_whose_drop_panics_is_no_reason_to_end_the_process() {
    // It was taken for a scope that is left under its children.
    struct Picky(u32);
    impl Drop for Picky {
        fn drop(&mut self) {
            if self.0 > 0 && !std::thread::panicking() {
                resume_unwind(Box::new("picky"));
            }
        }
    }
    let result: Result<(), Picky> = task_group(|group| {
        group.spawn(|| -> Result<(), Picky> { Err(Picky(0)) });
        let _ = catch_unwind(|| sleep(LONG));
        group.spawn(|| -> Result<(), Picky> { Err(Picky(1)) });
        Err(Picky(2))
    });
    assert_eq!(result.map_err(|picky| picky.0), Err(0));
    let result: Result<(), Picky> = task_group(|group| {
        for n in 0..3 {
            group.spawn(move || -> Result<(), Picky> {
                let _ = catch_unwind(yield_now);
                Err(Picky(n))
            });
        }
        Ok(())
    });
    assert_eq!(result.map_err(|picky| picky.0), Err(0));
}

#[test]
fn a_child_that_resists_is_waited_for() {
    let ended = Cell::new(false);
    let result: Done = timeout(HANG, || {
        task_group(|group| {
            group.spawn(|| {
                shield(|| sleep(10 * MS));
                ended.set(true);
                Ok(())
            });
            yield_now();
            Err("body")
        })
    })
    .unwrap();
    assert!(result == Err("body") && ended.get());
}

#[test]
fn a_group_in_a_shield_still_fails() {
    // The owner is not unwound there, but waits for the end of all.
    let result: Done = shield(|| {
        task_group(|group| {
            group.spawn(|| -> Done { Err("child") });
            sleep(2 * MS);
            Ok(())
        })
    });
    assert_eq!(result, Err("child"));
}

#[test]
fn a_scope_s_children_may_use_a_group_of_their_owner() {
    let result: Done = task_group(|group| {
        scope(|s| {
            s.spawn(|| {
                group.spawn(|| -> Done { Err("deep") });
            });
            s.spawn(|| sleep(LONG));
        });
        Ok(())
    });
    assert_eq!(result, Err("deep"));
}

#[test]
fn a_deadlock_in_a_group_kills_the_children_and_is_raised() {
    let ended = alone_in_child("task_group::a_deadlock_in_a_group_kills_the_children_and_is_raised", || {
        for in_body in [true, false] {
            let cleaned = Cell::new(false);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                task_group(|group| -> Done {
                    group.spawn(|| {
                        let _cleanup = OnDrop(|| cleaned.set(true));
                        Wait::begin(Reason::new("Godot")).notified(None);
                        Ok(())
                    });
                    if in_body {
                        Wait::begin(Reason::new("Pozzo")).notified(None);
                    }
                    Ok(())
                })
            }));
            let report = caught.unwrap_err().downcast::<String>().expect("a report");
            assert!(cleaned.get() && report.contains("Godot"), "{report}");
        }
    });
    ended.check();
}
