//! What goes on in a forked child, and what does not; and that the parent does not notice.
//!
//! Each test runs in a process of its own, which forks: the test harness has threads that a child would miss.

use std::cell::Cell;
use std::future::{IntoFuture, poll_fn};
use std::io::{self, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::patching::may_wait;
use greenlet_hub::{
    Handle, HubPool, Io, JoinError, Kind, Reason, TaskWait, ThreadPool, Wait, WaitList, block_on, current, joinall,
    lookup_host, no_switch, offload, scope, shutdown, sleep, spawn, spawn_later, timeout, wait_readable,
    wait_readable_timeout, yield_now,
};

use crate::child::{alone_in_child, in_child};
use crate::support::{HANG, waker};

const MS: Duration = Duration::from_millis(1);

/// Whether this is the child; in the parent the child's number.
enum Forked {
    Child,
    Parent(libc::pid_t),
}

fn fork() -> Forked {
    // SAFETY: what the child does with this library is what is tested here; of std's it uses what no other thread has locked.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: it has no preconditions. A child that hangs is ended by a signal.
            unsafe { libc::alarm(60) };
            Forked::Child
        }
        pid => {
            assert!(pid > 0, "{}", io::Error::last_os_error());
            Forked::Parent(pid)
        }
    }
}

/// Ends the child at once, with 0 if `body` returns and 101 if it panics.
fn end_child(body: impl FnOnce()) -> ! {
    let code = if catch_unwind(AssertUnwindSafe(body)).is_ok() { 0 } else { 101 };
    // SAFETY: it has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Runs `body` in a forked child.
fn child(body: impl FnOnce()) -> libc::pid_t {
    match fork() {
        Forked::Child => end_child(body),
        Forked::Parent(pid) => pid,
    }
}

/// How the child has ended: its code, or the signal, plus 128. The hub runs meanwhile.
fn reap(pid: libc::pid_t) -> i32 {
    loop {
        let mut status = 0;
        // SAFETY: `status` is room for the answer.
        match unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } {
            0 => sleep(MS),
            ended if ended == pid => {
                return if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
            }
            _ => panic!("{}", io::Error::last_os_error()),
        }
    }
}

#[track_caller]
fn check(pid: libc::pid_t) {
    assert_eq!(reap(pid), 0);
}

#[test]
fn the_child_of_main_waits_for_timers_pipes_and_greenlets_of_its_own() {
    let name = "fork::the_child_of_main_waits_for_timers_pipes_and_greenlets_of_its_own";
    alone_in_child(name, || {
        yield_now();
        let pid = child(|| {
            sleep(MS);
            assert_eq!(
                joinall((0..10).map(|n| spawn(move || {
                    sleep(MS);
                    n
                })))
                .len(),
                10
            );
            let (mut reader, mut writer) = pipe().unwrap();
            let writing = spawn(move || {
                sleep(MS);
                writer.write_all(b"x")
            });
            wait_readable(&reader).unwrap();
            assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);
            writing.join().unwrap().unwrap();
            assert!(timeout(MS, || sleep(HANG)).is_err());
        });
        check(pid);
    })
    .check();
}

#[test]
fn the_others_are_left_in_the_parent() {
    alone_in_child("fork::the_others_are_left_in_the_parent", || {
        let (ran, list) = (Rc::new(AtomicUsize::new(0)), Rc::new(WaitList::new()));
        let waiting = spawn({
            let (ran, list) = (Rc::clone(&ran), Rc::clone(&list));
            move || {
                list.wait(Reason::new("the parent"), None, || false);
                ran.fetch_add(1, Ordering::Relaxed);
            }
        });
        yield_now();
        let count = |ran: &Rc<AtomicUsize>| {
            let ran = Rc::clone(ran);
            move || {
                ran.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (ready, later) = (spawn(count(&ran)), spawn_later(MS, count(&ran)));
        let pid = child(|| {
            // What is notified is told at once that it is not there, so that another can have it.
            assert!(!list.notify_one());
            let own = spawn(|| 7);
            assert!(waiting.is_finished() && ready.is_finished() && later.is_finished());
            sleep(5 * MS);
            assert_eq!(ran.load(Ordering::Relaxed), 0);
            assert_eq!(own.join().unwrap(), 7);
            waiting.kill().unwrap();
            for greenlet in [waiting, ready, later] {
                assert!(matches!(greenlet.join(), Err(JoinError::HubEnded)));
            }
            assert!(shutdown(Duration::ZERO).is_empty());
        });
        check(pid);
        // In the parent nothing has changed. (The child has its own copies of what it has taken.)
        sleep(5 * MS);
        assert_eq!(ran.load(Ordering::Relaxed), 2);
        assert!(list.notify_one());
        yield_now();
        assert_eq!(ran.load(Ordering::Relaxed), 3);
    })
    .check();
}

#[test]
fn the_parent_s_registrations_are_undisturbed() {
    alone_in_child("fork::the_parent_s_registrations_are_undisturbed", || {
        let (near, far) = UnixStream::pair().unwrap();
        let near = Rc::new(Io::new(near, Kind::Stream).unwrap());
        let received = Rc::new(Cell::new(0));
        let receive = |near: &Io<UnixStream>| {
            let mut buf = [0; 8];
            near.read_some_with(8, None, |mut stream| stream.read(&mut buf)).map(|n| buf[..n].to_vec())
        };
        let reader = spawn({
            let (near, received) = (Rc::clone(&near), Rc::clone(&received));
            move || {
                while received.get() < 20 {
                    received.set(received.get() + receive(&near).unwrap().len());
                }
            }
        });
        yield_now();
        sleep(MS);
        for round in 0..20 {
            let pid = child(|| {
                // It uses the same descriptor, although a greenlet that it does not have waits there; and lets go of it.
                let mine = UnixStream::pair().unwrap();
                let own = Io::new(mine.0, Kind::Stream).unwrap();
                let reading = spawn(move || receive(&own).unwrap());
                assert!(timeout(MS, || receive(&near)).is_err());
                (&mine.1).write_all(b"own").unwrap();
                assert_eq!(reading.join().unwrap(), b"own");
                assert!(!wait_readable_timeout(near.as_fd(), MS).unwrap());
                if round % 2 == 0 {
                    drop(near.as_fd().try_clone_to_owned());
                    // SAFETY: the child ends without using it again.
                    unsafe { libc::close(std::os::fd::AsRawFd::as_raw_fd(&near.as_fd())) };
                }
            });
            check(pid);
            (&far).write_all(b"x").unwrap();
            // Before the next child could take it.
            while received.get() == round {
                sleep(MS);
            }
        }
        reader.join().unwrap();
    })
    .check();
}

#[test]
fn events_go_to_the_process_that_waits_for_them() {
    alone_in_child("fork::events_go_to_the_process_that_waits_for_them", || {
        // The listener is registered in the parent before the children are forked, as of a server.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = Io::new(listener, Kind::Listener).unwrap();
        let accept = || listener.read_with(Some(HANG), |listener| listener.accept()).unwrap().0;
        assert!(listener.read_with(Some(MS), |listener| listener.accept()).is_err());
        let children = [(); 3].map(|()| {
            child(|| {
                let stream = Io::new(accept(), Kind::Stream).unwrap();
                let mut buf = [0; 8];
                let count = stream.read_some_with(8, None, |mut stream| stream.read(&mut buf)).unwrap();
                stream.write_some_with(count, None, |mut stream| stream.write(&buf[..count])).unwrap();
            })
        });
        let clients = [(); 3].map(|()| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(b"hello").unwrap();
            stream
        });
        for mut stream in clients {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"hello");
        }
        children.into_iter().for_each(check);
        let client = TcpStream::connect(addr).unwrap();
        drop((accept(), client));
    })
    .check();
}

#[test]
fn a_greenlet_that_forks_is_the_child_s_only_one_and_its_end_is_the_child_s() {
    let name = "fork::a_greenlet_that_forks_is_the_child_s_only_one_and_its_end_is_the_child_s";
    alone_in_child(name, || {
        let (mut reader, writer) = pipe().unwrap();
        let forking = spawn(move || {
            sleep(MS);
            match fork() {
                Forked::Parent(pid) => {
                    drop(writer);
                    pid
                }
                Forked::Child => {
                    sleep(MS);
                    let answer = spawn(|| {
                        sleep(MS);
                        7
                    })
                    .join()
                    .unwrap();
                    assert_eq!(offload(|| 8), 8);
                    assert_eq!(timeout(HANG, || spawn(yield_now).join().is_ok()), Ok(true));
                    // It never runs on: the child ends.
                    let own = current();
                    spawn(move || {
                        own.wait();
                        std::process::abort()
                    });
                    yield_now();
                    write!(&writer, "{answer}").unwrap();
                    0
                }
            }
        });
        let bystander = spawn(|| sleep(2 * MS));
        let pid = forking.join().unwrap();
        bystander.join().unwrap();
        // Only a main greenlet that the child does not have would come here in it.
        assert!(pid > 0);
        check(pid);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "7");
    })
    .check();
}

#[test]
fn a_greenlet_that_has_never_waited_forks_and_ends_the_child_without_a_wait() {
    let name = "fork::a_greenlet_that_has_never_waited_forks_and_ends_the_child_without_a_wait";
    alone_in_child(name, || {
        let pid = spawn(|| match fork() {
            Forked::Child => 0,
            Forked::Parent(pid) => pid,
        });
        let pid = pid.join().unwrap();
        if pid == 0 {
            std::process::abort();
        }
        check(pid);
    })
    .check();
}

#[test]
fn what_has_forked_keeps_its_timeouts_and_scopes() {
    alone_in_child("fork::what_has_forked_keeps_its_timeouts_and_scopes", || {
        let mut numbers = [1, 2, 3];
        let forked = scope(|s| {
            let children = numbers.each_mut().map(|n| {
                s.spawn(move || {
                    sleep(20 * MS);
                    *n += 1;
                })
            });
            yield_now();
            let forked = timeout(40 * MS, || match fork() {
                Forked::Parent(pid) => pid,
                Forked::Child => {
                    sleep(HANG);
                    -1
                }
            });
            if forked.is_err() {
                assert!(children.iter().all(|child| child.is_finished()));
            }
            forked
        });
        match forked {
            Ok(pid) => {
                assert_eq!(numbers, [2, 3, 4]);
                check(pid);
            }
            // The children are the parent's, and nobody has touched what they borrow.
            Err(_) => end_child(|| assert_eq!(numbers, [1, 2, 3])),
        }
    })
    .check();
}

#[test]
fn a_future_that_waits_for_one_who_is_left_behind_is_told() {
    alone_in_child("fork::a_future_that_waits_for_one_who_is_left_behind_is_told", || {
        let sleeper = spawn(|| sleep(100 * MS));
        yield_now();
        let mut joined = sleeper.into_future();
        let mut forked = None;
        let ended = block_on(poll_fn(|cx| {
            let ended = Pin::new(&mut joined).poll(cx);
            // In the middle of the wait, which its end has to wake.
            if forked.is_none() {
                assert!(ended.is_pending());
                forked = Some(fork());
            }
            ended
        }));
        match forked {
            Some(Forked::Parent(pid)) => {
                ended.unwrap();
                check(pid);
            }
            _ => end_child(|| assert!(matches!(ended, Err(JoinError::HubEnded)))),
        }
    })
    .check();
}

#[test]
fn what_forks_in_a_waker_goes_on_as_whoever_has_notified() {
    alone_in_child("fork::what_forks_in_a_waker_goes_on_as_whoever_has_notified", || {
        let notify = || {
            let (forked, list) = (Arc::new(AtomicI32::new(-1)), WaitList::new());
            let waker = waker({
                let forked = Arc::clone(&forked);
                move || match fork() {
                    Forked::Child => forked.store(0, Ordering::Relaxed),
                    Forked::Parent(pid) => forked.store(pid, Ordering::Relaxed),
                }
            });
            let mut task = TaskWait::new();
            list.push(task.begin(&mut Context::from_waker(&waker)));
            let wait = Wait::begin(Reason::new("a wait that is under way"));
            list.notify_all();
            drop(wait);
            sleep(MS);
            assert!(!current().is_finished());
            forked.load(Ordering::Relaxed)
        };
        let bystander = spawn(|| sleep(5 * MS));
        yield_now();
        match notify() {
            0 => end_child(|| {
                assert!(bystander.is_finished());
                sleep(MS);
            }),
            pid => check(pid),
        }
        // In the child of the greenlet that is the end.
        check(spawn(notify).join().unwrap());
        bystander.join().unwrap();
    })
    .check();
}

#[test]
fn a_greenlet_of_another_thread_s_hub_is_not_waited_for() {
    in_child("fork::a_greenlet_of_another_thread_s_hub_is_not_waited_for", || {
        let (send, receive) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let far = spawn(|| sleep(HANG));
            send.send((far.greenlet().clone(), Handle::current())).unwrap();
            yield_now();
            let _ = offload(move || ended.recv());
        });
        let (far, hub) = receive.recv().unwrap();
        let pid = child(|| {
            far.wait();
            assert!(!hub.is_alive() && far.is_finished() && !far.is_successful());
            assert!(far.kill().is_ok());
        });
        check(pid);
        assert!(!far.is_finished() && hub.is_alive());
        drop(end);
        thread.join().unwrap();
    })
    .check();
}

#[test]
fn grandchildren_go_on_as_well() {
    alone_in_child("fork::grandchildren_go_on_as_well", || {
        fn descend(depth: u32) {
            let (mut reader, writer) = pipe().unwrap();
            let noisy = spawn(|| {
                loop {
                    sleep(MS);
                }
            });
            assert_eq!(offload(move || depth), depth);
            sleep(MS);
            let pid = child(|| {
                assert!(noisy.is_finished());
                sleep(MS);
                if depth > 0 {
                    spawn(move || descend(depth - 1)).join().unwrap();
                }
                drop(writer);
            });
            wait_readable(&reader).unwrap();
            drop(reader.read(&mut [0; 8]));
            check(pid);
            noisy.kill().unwrap();
        }
        descend(4);
    })
    .check();
}

#[test]
fn the_greenlet_of_a_child_forks_again() {
    alone_in_child("fork::the_greenlet_of_a_child_forks_again", || {
        let pid = spawn(|| {
            for depth in 0..4 {
                match fork() {
                    Forked::Parent(pid) => {
                        if depth == 0 {
                            return pid;
                        }
                        check(pid);
                        return 0;
                    }
                    Forked::Child if depth % 2 == 0 => sleep(MS),
                    Forked::Child => {}
                }
            }
            0
        });
        let pid = pid.join().unwrap();
        assert!(pid > 0);
        check(pid);
    })
    .check();
}

#[test]
fn pools_start_empty_in_the_child_and_work() {
    in_child("fork::pools_start_empty_in_the_child_and_work", || {
        let (release, wait) = mpsc::channel::<()>();
        let own = ThreadPool::new(1);
        let busy = own.spawn(move || wait.recv().is_err());
        let queued = own.spawn(|| ());
        let done = ThreadPool::global().spawn(|| 6);
        done.wait();
        assert_eq!(offload(|| 1), 1);
        let hubs = HubPool::new(2).unwrap();
        assert_eq!(hubs.spawn(|| 1).join().unwrap(), 1);
        assert_eq!(HubPool::global().spawn(|| 1).join().unwrap(), 1);
        drop(lookup_host("localhost", 1));
        let far = hubs.spawn(|| sleep(HANG));
        while !far.is_started() {
            sleep(MS);
        }
        let pid = child(|| {
            let (mine, others) = (ThreadPool::global().metrics(), own.metrics());
            assert_eq!((mine.threads, mine.completed, others.threads, others.queued), (0, 0, 0, 0));
            assert!(matches!(queued.join(), Err(JoinError::HubEnded)));
            assert_eq!(done.join().unwrap(), 6);
            assert!(matches!(busy.join(), Err(JoinError::HubEnded)));
            assert_eq!(own.apply(|| 2), 2);
            assert_eq!(offload(|| 3), 3);
            assert_eq!(own.metrics().completed, 1);
            own.join();
            drop(lookup_host("localhost", 1));
            let spawned = HubPool::global().spawn(|| (sleep(MS), 4));
            assert_eq!(spawned.join().unwrap().1, 4);
            // Another pool's hubs have ended.
            assert!(matches!(hubs.spawn(|| 5).join(), Err(JoinError::HubEnded)));
            assert!(matches!(hubs.handles()[0].spawn(|| 5).join(), Err(JoinError::HubEnded)));
            assert!(matches!(far.join(), Err(JoinError::HubEnded)));
            assert!(hubs.handles().iter().all(|hub| !hub.is_alive()));
            assert_eq!(hubs.metrics().queued, 0);
            assert!(hubs.shutdown(HANG).is_empty());
            drop(hubs);
        });
        check(pid);
        drop(release);
    })
    .check();
}

#[test]
fn threads_of_pools_fork() {
    in_child("fork::threads_of_pools_fork", || {
        let fork_there = || {
            child(|| {
                sleep(MS);
                assert_eq!(spawn(|| 1).join().unwrap(), 1);
                assert_eq!(offload(|| 2), 2);
                assert_eq!(HubPool::global().spawn(|| 3).join().unwrap(), 3);
                assert!(HubPool::current().is_none());
            })
        };
        for _ in 0..5 {
            check(offload(fork_there));
            check(HubPool::global().spawn(fork_there).join().unwrap());
            check(thread::spawn(fork_there).join().unwrap());
        }
        assert_eq!(offload(|| 1), 1);
    })
    .check();
}

#[test]
fn a_child_that_a_pool_s_thread_has_forked_ends_with_the_job() {
    in_child("fork::a_child_that_a_pool_s_thread_has_forked_ends_with_the_job", || {
        let fork_there = || match fork() {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                sleep(MS);
                0
            }
        };
        for _ in 0..5 {
            check(offload(fork_there));
            check(HubPool::global().spawn(fork_there).join().unwrap());
        }
        assert_eq!(offload(|| 1), 1);
    })
    .check();
}

#[test]
fn a_handle_on_the_hub_that_forks_is_one_in_the_child() {
    alone_in_child("fork::a_handle_on_the_hub_that_forks_is_one_in_the_child", || {
        let here = Handle::current();
        let pid = child(|| {
            assert!(here.is_alive() && here == Handle::current());
            assert_eq!(here.spawn(|| 1).join().unwrap(), 1);
            let there = here.clone();
            assert_eq!(thread::spawn(move || there.spawn(|| 2)).join().unwrap().join().unwrap(), 2);
            assert_eq!(here.load(), 0);
        });
        check(pid);
    })
    .check();
}

#[test]
fn threads_wake_the_child_s_hub_and_not_the_parent_s() {
    alone_in_child("fork::threads_wake_the_child_s_hub_and_not_the_parent_s", || {
        let (near, _far) = UnixStream::pair().unwrap();
        // The hub has an eventfd by now.
        assert!(!wait_readable_timeout(&near, MS).unwrap());
        for with_poller in [false, true] {
            let pid = child(|| {
                if with_poller {
                    assert!(!wait_readable_timeout(&near, MS).unwrap());
                }
                for _ in 0..20 {
                    let wait = Wait::begin(Reason::new("a thread"));
                    let waiter = wait.waiter();
                    let waking = thread::spawn(move || {
                        thread::sleep(MS);
                        waiter.notify()
                    });
                    assert!(wait.notified(Some(Instant::now() + HANG)));
                    assert!(waking.join().unwrap());
                }
            });
            check(pid);
        }
    })
    .check();
}

#[test]
fn a_thread_without_a_hub_forks() {
    in_child("fork::a_thread_without_a_hub_forks", || {
        assert_eq!(offload(|| 1), 1);
        let here = Handle::current();
        let pid = thread::spawn(move || {
            child(|| {
                assert!(!here.is_alive());
                assert_eq!(spawn(|| 1).join().unwrap(), 1);
                assert_eq!(offload(|| 2), 2);
                assert!(matches!(here.spawn(|| 3).join(), Err(JoinError::HubEnded)));
            })
        });
        check(pid.join().unwrap());
    })
    .check();
}

/// Forks so many children one after the other while other threads do these things again and again.
fn fork_while_others(hammers: Vec<Box<dyn Fn() + Send>>, count: usize, body: impl Fn(usize)) {
    let stop = Arc::new(AtomicBool::new(false));
    let hammers = hammers.into_iter().map(|hammer| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                hammer();
            }
        })
    });
    let hammers = Vec::from_iter(hammers);
    // Until all of them are at work: see below.
    sleep(20 * MS);
    for round in 0..count {
        check(child(|| body(round)));
    }
    stop.store(true, Ordering::Relaxed);
    hammers.into_iter().for_each(|hammer| hammer.join().unwrap());
}

#[test]
fn children_go_on_whatever_other_threads_were_in_the_middle_of() {
    in_child("fork::children_go_on_whatever_other_threads_were_in_the_middle_of", || {
        // Hubs that are made and end, and blocks that are freed elsewhere.
        let hammers: Vec<Box<dyn Fn() + Send>> = vec![
            Box::new(|| thread::spawn(|| spawn(|| ()).join().unwrap()).join().unwrap()),
            Box::new(|| assert_eq!(offload(|| ThreadPool::new(1).apply(|| 1)), 1)),
            Box::new(|| drop(joinall((0..50).map(|n| HubPool::global().spawn(move || [n; 200]))))),
            Box::new(|| drop(joinall((0..100).map(|_| spawn(|| timeout(Duration::ZERO, || sleep(MS))))))),
            // Who comes second waits for the first.
            Box::new(|| check(child(|| ()))),
        ];
        // Not with threads of its own: a thread that std starts or ends at the moment of the fork has a lock of std's, which the child's next thread would wait for.
        fork_while_others(hammers, 200, |_| {
            let spawned = Vec::from_iter((0..100).map(|n| {
                spawn(move || {
                    sleep(MS);
                    n
                })
            }));
            assert!(joinall(spawned).iter().all(Result::is_ok));
            assert!(catch_unwind(|| timeout(MS, || sleep(HANG)).unwrap()).is_err());
            let (mut near, far) = UnixStream::pair().unwrap();
            let reading = spawn(move || wait_readable_timeout(&far, HANG).unwrap());
            near.write_all(b"x").unwrap();
            assert!(reading.join().unwrap());
        });
    })
    .check();
}

#[test]
fn threads_of_children_go_on_whatever_other_threads_were_in_the_middle_of() {
    let name = "fork::threads_of_children_go_on_whatever_other_threads_were_in_the_middle_of";
    in_child(name, || {
        let pool = Arc::new(ThreadPool::new(2));
        // Both threads are there.
        let (send, receive) = mpsc::channel::<()>();
        let first = pool.spawn(move || receive.recv());
        pool.apply(move || drop(send));
        assert!(first.join().unwrap().is_err());
        assert_eq!(HubPool::global().spawn(|| 1).join().unwrap(), 1);
        // Each job that uses greenlets has a hub that is made and ends, on threads that stay.
        let (one, other) = (Arc::clone(&pool), Arc::clone(&pool));
        let hammers: Vec<Box<dyn Fn() + Send>> = vec![
            Box::new(move || assert_eq!(one.apply(|| spawn(|| 1).join().unwrap()), 1)),
            Box::new(move || drop(other.spawn(|| joinall((0..50).map(|n| spawn(move || n)))).join())),
            Box::new(|| drop(joinall((0..50).map(|n| HubPool::global().spawn(move || [n; 200]))))),
        ];
        fork_while_others(hammers, 150, |round| {
            assert_eq!(offload(|| 1), 1);
            assert_eq!(pool.apply(|| 2), 2);
            assert_eq!(thread::spawn(|| spawn(|| 3).join().unwrap()).join().unwrap(), 3);
            if round % 4 == 0 {
                assert_eq!(HubPool::global().spawn(|| (sleep(MS), 4).1).join().unwrap(), 4);
            }
        });
    })
    .check();
}

#[test]
fn commands_with_pre_exec_work_while_the_hub_is_busy() {
    alone_in_child("fork::commands_with_pre_exec_work_while_the_hub_is_busy", || {
        let noisy = Vec::from_iter((0..100).map(|_| {
            spawn(|| {
                loop {
                    sleep(MS);
                }
            })
        }));
        let run = |pre_exec: fn() -> io::Result<()>| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "ls /proc/self/fd | wc -l"]);
            // SAFETY: it looks at some words only.
            unsafe { command.pre_exec(pre_exec) };
            let output = command.output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            output.stdout
        };
        // Nothing that the hub has is for the program.
        let usual = run(|| Ok(()));
        let (near, _far) = UnixStream::pair().unwrap();
        assert!(!wait_readable_timeout(&near, MS).unwrap());
        for _ in 0..10 {
            assert_eq!(run(|| if may_wait() { Err(io::Error::other("not inert")) } else { Ok(()) }), usual);
            assert!(may_wait());
        }
        drop(noisy);
    })
    .check();
}

#[test]
fn interposed_calls_are_inert_until_the_child_s_first_wait() {
    alone_in_child("fork::interposed_calls_are_inert_until_the_child_s_first_wait", || {
        yield_now();
        assert!(may_wait());
        let pid = child(|| {
            assert!(!may_wait());
            let own = spawn(may_wait);
            assert!(!no_switch(may_wait));
            assert!(!may_wait());
            yield_now();
            assert!(own.join().unwrap() && may_wait());
        });
        assert!(may_wait());
        check(pid);
        // Forked where nothing may switch, it is no different.
        let pid = no_switch(|| child(|| assert!(!may_wait() && catch_unwind(yield_now).is_err() && !may_wait())));
        check(pid);
    })
    .check();
}

#[test]
fn a_deadlock_of_the_child_is_told_whatever_runs_in_the_parent() {
    let ended = in_child("fork::a_deadlock_of_the_child_is_told_whatever_runs_in_the_parent", || {
        let thread = thread::spawn(|| sleep(HANG / 4));
        assert_eq!(HubPool::global().spawn(|| 1).join().unwrap(), 1);
        let pid = child(|| {
            let waited = catch_unwind(|| Wait::begin(Reason::new("Godot")).notified(None));
            let report = *waited.unwrap_err().downcast::<String>().unwrap();
            assert!(report.contains("waits for Godot"), "{report}");
        });
        check(pid);
        drop(thread);
    });
    ended.check();
}

#[test]
fn a_deadlock_of_the_greenlet_that_is_all_the_child_has_ends_it_with_the_report() {
    let name = "fork::a_deadlock_of_the_greenlet_that_is_all_the_child_has_ends_it_with_the_report";
    let ended = alone_in_child(name, || {
        let pid = spawn(|| match fork() {
            Forked::Parent(pid) => pid,
            Forked::Child => i32::from(Wait::begin(Reason::new("Godot")).notified(None)),
        });
        assert_eq!(reap(pid.join().unwrap()), 128 + libc::SIGABRT);
    });
    ended.check();
    assert!(ended.stderr.contains("waits for Godot"), "{}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn the_child_closes_what_it_has_of_the_parent_s_poller() {
    use crate::support::descriptors;

    alone_in_child("fork::the_child_closes_what_it_has_of_the_parent_s_poller", || {
        let (near, _far) = UnixStream::pair().unwrap();
        let polls = || descriptors().iter().filter(|link| link.contains("anon_inode")).count();
        assert_eq!(polls(), 0);
        assert!(!wait_readable_timeout(&near, MS).unwrap());
        let own = polls();
        assert!(own > 0);
        let pid = child(|| {
            // Not in the middle of `fork`.
            assert_eq!(polls(), own);
            sleep(MS);
            assert_eq!(polls(), 0);
            assert!(!wait_readable_timeout(&near, MS).unwrap());
            assert_eq!(polls(), own);
        });
        check(pid);
        assert_eq!(polls(), own);
        for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
            let path = entry.unwrap().path();
            let link = std::fs::read_link(std::path::Path::new("/proc/self/fd").join(path.file_name().unwrap()));
            if link.is_ok_and(|link| link.display().to_string().contains("anon_inode")) {
                let info = std::fs::read_to_string(&path).unwrap();
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
                assert_ne!(i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC, 0, "{info}");
            }
        }
    })
    .check();
}
