//! What may cross threads, and what may not.

use std::cell::Cell;
use std::rc::Rc;

use greenlet_sync::{Lock, LockGuard, RLock, RLockGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Does not compile if the type has the trait: then there are two candidates for the method.
macro_rules! assert_not {
    ($trait:ident: $($type:ty),+) => {{
        trait Ambiguous<A> {
            fn check() {}
        }
        struct Other;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $trait> Ambiguous<Other> for T {}
        $(<$type as Ambiguous<_>>::check();)+
    }};
}

#[test]
fn a_lock_of_what_stays_on_its_thread_stays_there() {
    assert_not!(Send: Lock<Rc<()>>, RLock<Rc<()>>, RwLock<Rc<()>>);
    assert_not!(Sync: Lock<Rc<()>>, RLock<Rc<()>>, RwLock<Rc<()>>);
}

#[test]
fn readers_on_several_threads_need_a_payload_that_may_be_shared() {
    assert_not!(Sync: RwLock<Cell<i32>>);
}

#[test]
fn guards_stay_where_they_were_made() {
    assert_not!(Send: LockGuard<'_, i32>, RLockGuard<'_, i32>, RwLockReadGuard<'_, i32>, RwLockWriteGuard<'_, i32>);
    assert_not!(Sync: LockGuard<'_, Cell<i32>>, RLockGuard<'_, Cell<i32>>);
}
