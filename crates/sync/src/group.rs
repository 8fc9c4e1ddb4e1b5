//! `Group`: greenlets that are waited for and killed together.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use greenlet_hub::{
    Greenlet, JoinHandle, KillError, ShortLock, WaitList, Waitable, Waiter, current, spawn, wait_until_any,
};

use crate::const_fn::const_unless_loom;
use crate::time::deadline_after;

/// A set of greenlets, which leave it when they end. Like gevent's `Group`.
///
/// Members may be of several hubs, and any thread may wait for them or kill them. Dropping the group leaves them alone.
///
/// # Examples
///
/// ```
/// use greenlet_hub::sleep;
/// use greenlet_sync::Group;
/// use std::time::Duration;
///
/// let group = Group::new();
/// for millis in 0..5 {
///     group.spawn(move || sleep(Duration::from_millis(millis)));
/// }
/// assert_eq!(group.len(), 5);
/// group.join();
/// assert!(group.is_empty());
/// ```
// Nobody is told when a member ends: who looks sees who has. So a member costs an entry, and no second greenlet. Those who wait
// for all of them wait for the first who has not ended, and then for the next.
#[derive(Default)]
pub struct Group {
    state: ShortLock<State>,
    discards: Discards,
}

#[derive(Default)]
struct State {
    /// By number, so in the order in which one hub spawned them. Some may have ended.
    members: BTreeMap<u64, Greenlet>,
    /// With so many, those who have ended are swept out.
    sweep_at: usize,
}

impl State {
    const SMALLEST_SWEEP: usize = 16;

    fn sweep(&mut self) {
        self.members.retain(|_, member| !member.is_finished());
        self.sweep_at = 2 * self.members.len();
    }
}

impl Group {
    const_unless_loom! {
        /// A group without members.
        ///
        /// # Examples
        ///
        /// ```
        /// assert!(greenlet_sync::Group::new().is_empty());
        /// ```
        pub fn new() -> Group {
            Group {
                state: ShortLock::new(State { members: BTreeMap::new(), sweep_at: 0 }),
                discards: Discards(WaitList::new()),
            }
        }
    }

    /// Spawns a greenlet on this thread's hub as a member. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// let answer = greenlet_sync::Group::new().spawn(|| 6 * 7);
    /// assert_eq!(answer.join().unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn spawn<T: 'static>(&self, f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        let handle = spawn(f);
        self.add(&handle);
        handle
    }

    /// Makes a greenlet a member, unless it has ended. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::spawn;
    /// use greenlet_sync::Group;
    ///
    /// let (group, greenlet) = (Group::new(), spawn(|| ()));
    /// group.add(&greenlet);
    /// assert!(group.contains(&greenlet));
    /// ```
    pub fn add(&self, greenlet: impl AsRef<Greenlet>) {
        let greenlet = greenlet.as_ref();
        if greenlet.is_finished() {
            return;
        }
        let mut state = self.state.lock();
        if state.members.len() >= state.sweep_at.max(State::SMALLEST_SWEEP) {
            state.sweep();
        }
        state.members.insert(greenlet.id(), greenlet.clone());
    }

    /// Takes a member out, which goes on by itself; false if it was none. Never switches.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet_sync::Group::new();
    /// let member = group.spawn(|| ());
    /// assert!(group.discard(&member));
    /// assert!(!group.discard(&member));
    /// ```
    pub fn discard(&self, greenlet: impl AsRef<Greenlet>) -> bool {
        let member = self.state.lock().members.remove(&greenlet.as_ref().id());
        let was_member = member.is_some_and(|member| !member.is_finished());
        if was_member {
            self.discards.0.notify_all();
        }
        was_member
    }

    /// Whether the greenlet is a member, and has not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet_sync::Group::new();
    /// let member = group.spawn(|| ());
    /// assert!(group.contains(&member));
    /// ```
    pub fn contains(&self, greenlet: impl AsRef<Greenlet>) -> bool {
        let greenlet = greenlet.as_ref();
        !greenlet.is_finished() && self.state.lock().members.contains_key(&greenlet.id())
    }

    /// How many members there are who have not ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet_sync::Group::new();
    /// group.spawn(|| ());
    /// assert_eq!(group.len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        let mut state = self.state.lock();
        state.sweep();
        state.members.len()
    }

    /// Whether all members have ended.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet_sync::Group::new();
    /// group.spawn(|| ());
    /// assert!(!group.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.first(None).is_none()
    }

    /// The members who have not ended now, as they were spawned. It does not see later ones.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet_sync::Group::new();
    /// let member = group.spawn(|| ());
    /// assert!(group.iter().eq([member.greenlet().clone()]));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Greenlet> + use<> {
        let mut state = self.state.lock();
        state.sweep();
        let members: Vec<Greenlet> = state.members.values().cloned().collect();
        members.into_iter()
    }

    /// Waits until all members have ended, those who come meanwhile included. A member who calls it does not wait for himself.
    ///
    /// # Panics
    ///
    /// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
    ///
    /// # Examples
    ///
    /// ```
    /// let group = greenlet_sync::Group::new();
    /// let member = group.spawn(|| ());
    /// group.join();
    /// assert!(member.is_finished());
    /// ```
    pub fn join(&self) {
        self.join_deadline(None);
    }

    /// Waits until all members have ended, at the most for `timeout`; says whether they have.
    ///
    /// # Panics
    ///
    /// As [`join`](Group::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let group = greenlet_sync::Group::new();
    /// group.spawn(|| greenlet_hub::sleep(Duration::from_secs(60)));
    /// assert!(!group.join_timeout(Duration::from_millis(1)));
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_deadline(deadline_after(timeout))
    }

    pub(crate) fn join_deadline(&self, deadline: Option<Instant>) -> bool {
        let this = current();
        while let Some(first) = self.first(Some(&this)) {
            let objects: [&dyn Waitable; 2] = [&first, &self.discards];
            if !wait_until_any(objects.into_iter(), || !self.contains(&first), deadline) {
                return self.first(Some(&this)).is_none();
            }
        }
        true
    }

    /// The first who has not ended, other than that one.
    fn first(&self, but: Option<&Greenlet>) -> Option<Greenlet> {
        let mut state = self.state.lock();
        while let Some(first) = state.members.first_entry()
            && first.get().is_finished()
        {
            first.remove();
        }
        state.members.values().find(|&member| !member.is_finished() && Some(member) != but).cloned()
    }

    /// Kills all members, those who come meanwhile included, and waits until they have ended.
    ///
    /// A member who calls it is killed last: he unwinds when the others have ended.
    ///
    /// # Errors
    ///
    /// If a member cannot be killed (see [`Greenlet::kill`]); the others are.
    ///
    /// # Panics
    ///
    /// As [`join`](Group::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let group = greenlet_sync::Group::new();
    /// let member = group.spawn(|| greenlet_hub::sleep(Duration::from_secs(60)));
    /// group.kill()?;
    /// assert!(member.is_finished());
    /// # Ok::<(), greenlet_hub::KillError>(())
    /// ```
    pub fn kill(&self) -> Result<(), KillError> {
        self.kill_deadline(None).map(drop)
    }

    /// Kills all members as [`kill`](Group::kill), and waits for at the most `timeout`; says whether they have ended.
    ///
    /// # Errors
    ///
    /// As [`kill`](Group::kill).
    ///
    /// # Panics
    ///
    /// As [`join`](Group::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let group = greenlet_sync::Group::new();
    /// group.spawn(|| greenlet_hub::sleep(Duration::from_secs(60)));
    /// assert!(group.kill_timeout(Duration::from_secs(10))?);
    /// # Ok::<(), greenlet_hub::KillError>(())
    /// ```
    pub fn kill_timeout(&self, timeout: Duration) -> Result<bool, KillError> {
        self.kill_deadline(deadline_after(timeout))
    }

    /// Kills those who are members now, without waiting. Never switches.
    ///
    /// # Errors
    ///
    /// As [`kill`](Group::kill).
    ///
    /// # Examples
    ///
    /// ```
    /// use greenlet_hub::JoinError;
    ///
    /// let group = greenlet_sync::Group::new();
    /// let member = group.spawn(|| ());
    /// group.kill_nowait()?;
    /// assert!(matches!(member.join(), Err(JoinError::Killed)));
    /// # Ok::<(), greenlet_hub::KillError>(())
    /// ```
    pub fn kill_nowait(&self) -> Result<(), KillError> {
        let ends: Vec<_> = self.iter().map(|member| member.kill_nowait()).collect();
        ends.into_iter().collect()
    }

    pub(crate) fn kill_deadline(&self, deadline: Option<Instant>) -> Result<bool, KillError> {
        let this = current();
        let mut refused = None;
        loop {
            let mut victims: Vec<Greenlet> = self.iter().filter(|member| *member != this).collect();
            victims.retain(|victim| victim.kill_nowait().map_err(|err| refused = Some(err)).is_ok());
            if victims.is_empty() {
                break;
            }
            for victim in victims {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let ended = left.is_none_or(|left| victim.wait_timeout(left));
                if !ended {
                    return refused.map_or(Ok(false), Err);
                }
                victim.wait();
            }
        }
        if self.contains(&this) {
            this.kill()?;
        }
        refused.map_or(Ok(true), Err)
    }
}

impl Waitable for Group {
    /// Whether all members have ended.
    fn is_ready(&self) -> bool {
        self.is_empty()
    }

    /// Notified when the first member ends, which is not the last: whoever is woken looks, and comes back.
    fn subscribe(&self, waiter: &Waiter) {
        if let Some(first) = self.first(None) {
            self.discards.subscribe(waiter);
            first.subscribe(waiter);
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Those who are to be told that a member was discarded.
#[derive(Default)]
struct Discards(WaitList);

impl Waitable for Discards {
    fn is_ready(&self) -> bool {
        false
    }

    fn subscribe(&self, waiter: &Waiter) {
        self.0.push(waiter.clone());
    }
}
