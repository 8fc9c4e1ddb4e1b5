//! Where other threads leave work for a hub, and how they know that it must be woken.
//!
//! A stack of boxed messages (Treiber's), of which the hub takes all at once and turns the order round; so
//! there is no ABA problem. Whether the hub sleeps stands in the same word as the messages:
//!
//! ```text
//!  null       empty, the hub runs (it will look before it sleeps)
//!  SLEEPING   empty, the hub sleeps or is about to: whoever pushes onto this has to wake it
//!  CLOSED     the hub has ended: a push gives its message back
//!  a node     messages; the hub runs, or has been woken
//! ```
//!
//! With one word there is nothing to order against anything else: a message is pushed either before the
//! hub announced that it sleeps (then the announcement fails) or after (then the pusher sees it). And of many
//! pushers exactly one sees it: one system call wakes the hub.

use std::ptr;

use crate::atomics::{AtomicPtr, Ordering};

struct Node<T> {
    message: T,
    next: *mut Node<T>,
}

/// The messages of other threads to one hub.
pub(crate) struct Inbox<T> {
    head: AtomicPtr<Node<T>>,
}

// SAFETY: messages go from the pushing threads to the one that takes them; the nodes belong to whoever has unlinked them.
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above; all shared access goes through the atomic head.
unsafe impl<T: Send> Sync for Inbox<T> {}

fn sleeping<T>() -> *mut Node<T> {
    ptr::without_provenance_mut(1)
}

fn closed<T>() -> *mut Node<T> {
    ptr::without_provenance_mut(2)
}

fn is_node<T>(head: *mut Node<T>) -> bool {
    head.addr() > 2
}

impl<T> Inbox<T> {
    pub(crate) fn new() -> Inbox<T> {
        Inbox { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Leaves a message. `Ok(true)`: the hub sleeps, and the caller is the one who has to wake it.
    ///
    /// # Errors
    ///
    /// Gives the message back if the hub has ended.
    pub(crate) fn push(&self, message: T) -> Result<bool, T> {
        let node = Box::into_raw(Box::new(Node { message, next: ptr::null_mut() }));
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == closed() {
                // SAFETY: the node has not been published; it is still ours alone.
                let node = unsafe { Box::from_raw(node) };
                return Err(node.message);
            }
            let next = if is_node(head) { head } else { ptr::null_mut() };
            // SAFETY: the node has not been published; it is still ours alone.
            unsafe { (*node).next = next };
            // Release publishes the node; acquire orders the wake-up after the hub's announcement.
            match self.head.compare_exchange_weak(head, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(head == sleeping()),
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is anything to take: one load.
    #[inline]
    pub(crate) fn has_messages(&self) -> bool {
        is_node(self.head.load(Ordering::Relaxed))
    }

    /// Announces that the hub sleeps; false if there are messages to take first.
    pub(crate) fn announce_sleep(&self) -> bool {
        (self.head).compare_exchange(ptr::null_mut(), sleeping(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether the hub has announced that it sleeps and nobody has left anything since.
    pub(crate) fn is_sleeping(&self) -> bool {
        self.head.load(Ordering::Acquire) == sleeping()
    }

    /// Whether its hub has ended, and nothing can be left any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.head.load(Ordering::Acquire) == closed()
    }

    /// Takes all messages, in the order in which they were left, and takes back the announcement.
    pub(crate) fn take(&self) -> Messages<T> {
        Messages::reversed(self.head.swap(ptr::null_mut(), Ordering::AcqRel))
    }

    /// Opens a closed inbox again, for the next hub.
    pub(crate) fn reopen(&self) {
        let _ = self.head.compare_exchange(closed(), ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Takes what is there; from now on nothing can be left.
    pub(crate) fn close(&self) -> Messages<T> {
        Messages::reversed(self.head.swap(closed(), Ordering::AcqRel))
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Messages that were taken, oldest first.
pub(crate) struct Messages<T> {
    head: *mut Node<T>,
}

impl<T> Messages<T> {
    /// Turns the order of a list that was just unlinked: the stack has the newest on top.
    fn reversed(mut head: *mut Node<T>) -> Messages<T> {
        let mut oldest = ptr::null_mut();
        while is_node(head) {
            // SAFETY: the list was unlinked by a swap, so its nodes are ours alone.
            let node = unsafe { &mut *head };
            (head, node.next, oldest) = (node.next, oldest, head);
        }
        Messages { head: oldest }
    }
}

impl<T> Iterator for Messages<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.head.is_null() {
            return None;
        }
        // SAFETY: every node came out of `Box::into_raw`, is ours alone, and is left behind by the next line.
        let node = unsafe { Box::from_raw(self.head) };
        self.head = node.next;
        Some(node.message)
    }
}

impl<T> Drop for Messages<T> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

#[cfg(all(test, not(greenlet_loom)))]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_the_order_in_which_they_were_left() {
        let inbox = Inbox::new();
        for i in 0..5 {
            assert_eq!(inbox.push(i), Ok(false));
        }
        assert!(inbox.has_messages());
        assert_eq!(inbox.take().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(!inbox.has_messages());
    }

    #[test]
    fn only_the_first_push_onto_a_sleeping_inbox_has_to_wake() {
        let inbox = Inbox::new();
        assert!(inbox.announce_sleep());
        assert!(inbox.is_sleeping());
        assert_eq!(inbox.push(1), Ok(true));
        assert_eq!(inbox.push(2), Ok(false));
        assert!(!inbox.announce_sleep());
        assert_eq!(inbox.take().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_closed_inbox_gives_the_message_back() {
        let inbox = Inbox::new();
        inbox.push(String::from("left")).unwrap();
        assert_eq!(inbox.close().collect::<Vec<_>>(), ["left"]);
        assert_eq!(inbox.push(String::from("late")), Err(String::from("late")));
    }

    #[test]
    fn what_was_never_taken_is_dropped() {
        let item = std::rc::Rc::new(());
        let inbox = Inbox::new();
        assert!(inbox.push(std::rc::Rc::clone(&item)).is_ok());
        let taken = inbox.take();
        assert!(inbox.push(std::rc::Rc::clone(&item)).is_ok());
        drop((taken, inbox));
        assert_eq!(std::rc::Rc::strong_count(&item), 1);
    }
}

/// The protocol of going to sleep, in every interleaving (see `ci/loom`).
#[cfg(all(test, greenlet_loom))]
pub(crate) mod loom_tests {
    use super::*;
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// What a hub sleeps on: an event that stays set until it is seen, as an eventfd does.
    #[derive(Default)]
    pub(crate) struct Bell(Mutex<bool>, Condvar);

    impl Bell {
        pub(crate) fn ring(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
        pub(crate) fn sleep(&self) {
            let mut rung = self.0.lock().unwrap();
            while !*rung {
                rung = self.1.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    #[test]
    fn no_message_is_slept_through() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let bell = Arc::new(Bell::default());
            let pushers: Vec<_> = (0..2)
                .map(|i| {
                    let (inbox, bell) = (Arc::clone(&inbox), Arc::clone(&bell));
                    thread::spawn(move || {
                        if inbox.push(i).unwrap() {
                            bell.ring();
                        }
                    })
                })
                .collect();
            let mut seen = 0;
            while seen < 2 {
                seen += inbox.take().count();
                if seen < 2 && inbox.announce_sleep() {
                    // A message that is slept through is a deadlock here, which loom reports.
                    bell.sleep();
                }
            }
            for pusher in pushers {
                pusher.join().unwrap();
            }
        });
    }

    #[test]
    fn a_message_is_taken_or_given_back_when_the_hub_ends() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            let pusher = thread::spawn({
                let inbox = Arc::clone(&inbox);
                move || inbox.push(7).is_ok()
            });
            let taken = inbox.take().count() + inbox.close().count();
            let accepted = pusher.join().unwrap();
            assert_eq!(taken == 1, accepted);
        });
    }
}
