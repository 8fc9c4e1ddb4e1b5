//! `as_completed`: results in the order in which they come.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use greenlet_hub::{JoinError, JoinHandle, LinkId, Reason, WaitList, yield_now};

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
pub fn as_completed<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> AsCompleted<T> {
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
pub fn as_completed_timeout<T>(handles: impl IntoIterator<Item = JoinHandle<T>>, timeout: Duration) -> AsCompleted<T> {
    AsCompleted::new(handles, deadline_after(timeout))
}

/// The results of greenlets in the order in which they end; see [`as_completed`].
pub struct AsCompleted<T> {
    ends: Rc<Ends>,
    /// Those whose results have not been given, with the link that tells of the end if that was to come.
    handles: HashMap<usize, (JoinHandle<T>, Option<LinkId>)>,
    deadline: Option<Instant>,
}

/// Who has ended, as the links tell. They run on the hub on which they were made.
struct Ends {
    ended: RefCell<VecDeque<usize>>,
    consumer: WaitList,
}

impl<T> AsCompleted<T> {
    fn new(handles: impl IntoIterator<Item = JoinHandle<T>>, deadline: Option<Instant>) -> AsCompleted<T> {
        let ends = Rc::new(Ends { ended: RefCell::default(), consumer: WaitList::new() });
        let link = |(index, handle): (usize, JoinHandle<T>)| {
            if handle.is_finished() {
                ends.ended.borrow_mut().push_back(index);
                return (index, (handle, None));
            }
            let ends = Rc::clone(&ends);
            let link = handle.link(move |_| {
                ends.ended.borrow_mut().push_back(index);
                ends.consumer.notify_one();
            });
            (index, (handle, Some(link)))
        };
        let handles = handles.into_iter().enumerate().map(link).collect();
        AsCompleted { ends, handles, deadline }
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
        self.handles.len()
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = Result<T, JoinError>;

    /// Waits for the next that ends; `None` when there is none left, or the time has passed.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    fn next(&mut self) -> Option<Result<T, JoinError>> {
        let reason = Reason::new("the end of one of several greenlets");
        while !self.handles.is_empty() {
            let ended = self.ends.ended.borrow_mut().pop_front();
            if let Some((handle, _)) = ended.and_then(|index| self.handles.remove(&index)) {
                // It has ended, so this does not wait.
                return Some(handle.join());
            }
            let ready = || !self.ends.ended.borrow().is_empty();
            if !self.ends.consumer.wait(reason, self.deadline, ready) {
                // The links of those that ended in the same turn of the loop have not run yet.
                yield_now();
                if self.ends.ended.borrow().is_empty() {
                    return None;
                }
            }
        }
        None
    }
}

impl<T> Drop for AsCompleted<T> {
    fn drop(&mut self) {
        for (handle, link) in self.handles.values() {
            if let Some(link) = link {
                handle.unlink(*link);
            }
        }
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("unfinished", &self.handles.len()).finish_non_exhaustive()
    }
}
