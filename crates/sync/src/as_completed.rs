//! `as_completed`: results in the order in which they come.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_hub::{Greenlet, JoinError, JoinHandle, Reason, WaitList, spawn, yield_now};

use crate::time::deadline_after;

/// Takes the results of greenlets in the order in which they end. Like `concurrent.futures.as_completed`.
///
/// Those that have ended before come first, in the order given. Dropping the iterator lets the rest go on by themselves.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{sleep, spawn};
/// use greenlet_sync::as_completed;
/// use std::time::Duration;
///
/// let sleepers = [9, 1, 5].map(|millis| spawn(move || { sleep(Duration::from_millis(millis)); millis }));
/// let order: Vec<u64> = as_completed(sleepers).map(Result::unwrap).collect();
/// assert_eq!(order, [1, 5, 9]);
/// ```
pub fn as_completed<T: 'static>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> AsCompleted<T> {
    AsCompleted::new(handles, None)
}

/// Takes the results of greenlets in the order in which they end, as long as the time has not passed; see [`as_completed`].
///
/// The time counts from this call. Results that are there when it has passed are given; [`unfinished`](AsCompleted::unfinished) says how many are not.
///
/// # Examples
///
/// ```
/// use greenlet_hub::{sleep, spawn};
/// use greenlet_sync::as_completed_timeout;
/// use std::time::Duration;
///
/// let handles = [0, 60_000].map(|millis| spawn(move || sleep(Duration::from_millis(millis))));
/// let mut results = as_completed_timeout(handles, Duration::from_millis(5));
/// assert!(results.next().is_some());
/// assert!(results.next().is_none());
/// assert_eq!(results.unfinished(), 1);
/// ```
pub fn as_completed_timeout<T: 'static>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    timeout: Duration,
) -> AsCompleted<T> {
    AsCompleted::new(handles, deadline_after(timeout))
}

/// The results of greenlets in the order in which they end; see [`as_completed`].
pub struct AsCompleted<T> {
    shared: Rc<Shared<T>>,
    /// Each waits for one greenlet, and puts its handle into the queue.
    watchers: Vec<Greenlet>,
    /// Those whose results have not been given.
    left: usize,
    deadline: Option<Instant>,
}

struct Shared<T> {
    ended: RefCell<VecDeque<JoinHandle<T>>>,
    consumer: WaitList,
}

impl<T: 'static> AsCompleted<T> {
    fn new(handles: impl IntoIterator<Item = JoinHandle<T>>, deadline: Option<Instant>) -> AsCompleted<T> {
        let shared = Rc::new(Shared { ended: RefCell::default(), consumer: WaitList::new() });
        let mut results = AsCompleted { shared, watchers: Vec::new(), left: 0, deadline };
        for handle in handles {
            results.left += 1;
            if handle.is_finished() {
                results.shared.ended.borrow_mut().push_back(handle);
                continue;
            }
            let shared = Rc::clone(&results.shared);
            let watcher = spawn(move || {
                handle.wait();
                shared.ended.borrow_mut().push_back(handle);
                shared.consumer.notify_one();
            });
            results.watchers.push(watcher.greenlet().clone());
        }
        results
    }
}

impl<T> AsCompleted<T> {
    /// How many results have not been given.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    ///
    /// let results = greenlet_sync::as_completed([spawn(|| 1), spawn(|| 2)]);
    /// assert_eq!(results.unfinished(), 2);
    /// ```
    pub fn unfinished(&self) -> usize {
        self.left
    }
}

impl<T: 'static> Iterator for AsCompleted<T> {
    type Item = Result<T, JoinError>;

    /// Waits for the next that ends; `None` when there is none left, or the time has passed.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    fn next(&mut self) -> Option<Result<T, JoinError>> {
        if self.left == 0 {
            return None;
        }
        loop {
            let ended = self.shared.ended.borrow_mut().pop_front();
            if let Some(handle) = ended {
                self.left -= 1;
                // It has ended, so this does not wait.
                return Some(handle.join());
            }
            let ready = || !self.shared.ended.borrow().is_empty();
            if !self.shared.consumer.wait(Reason::new("the end of one of several greenlets"), self.deadline, ready) {
                // Those that ended in the same turn of the loop have watchers that have not run yet.
                yield_now();
                if self.shared.ended.borrow().is_empty() {
                    return None;
                }
            }
        }
    }
}

impl<T> Drop for AsCompleted<T> {
    fn drop(&mut self) {
        for watcher in &self.watchers {
            // A watcher is no main greenlet, and where nothing unwinds it ends with whom it watches.
            let _ = watcher.kill_nowait();
        }
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("unfinished", &self.left).finish_non_exhaustive()
    }
}
