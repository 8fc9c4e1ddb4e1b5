//! The macro: it takes its arms apart, and never wraps a body into anything.

/// Waits for the first of several things, takes it and runs what stands behind it; the others are left as they were.
///
/// ```text
/// select! {
///     item = queue.get() => …,          // what the call itself returns: here a `Result`
///     result = queue.put(x) => …,       // dropped if another arm is chosen
///     _ = event.wait() => …,            // anything `Waitable`
///     permit = semaphore.acquire() => …,
///     guard = lock.lock() => …,
///     result = handle.join() => …,      // see `SelectJoin`
///     result = wait_readable(&fd) => …, // and `wait_writable`
///     _ = sleep(duration) => …,         // and `sleep_until`
///     value = arm => …,                 // any expression whose type is an `Arm`
///     default => …,                     // last: if nothing is ready; then it never waits
/// }
/// ```
///
/// * The expressions are evaluated once, in order. Those calls are not made, but stand for arms.
/// * Only what is chosen is taken. What was notified and not chosen passes that on, so nothing is lost; what an arm was given, such
///   as the item to put, is dropped.
/// * It is fair: of several that are ready, each has the same chance. A `sleep` too: who wants data first looks for it first.
/// * One who selects waits in line with the others, but nothing is kept for him: what was taken by somebody else before he runs is gone,
///   however often that happens. A plain `get`, `acquire` or `lock` is passed over once at the most.
/// * The bodies are plain code of the function around it: `break`, `continue`, `return` and `?` work, and they may wait.
///   What was waited for is let go of before them.
/// * Patterns have to match whatever comes.
///
/// With `default` this never switches. Like Go's `select`, crossbeam's, and tokio's.
///
/// # Panics
///
/// If it must wait inside [`no_switch`](greenlet_hub::no_switch()); to unwind when the greenlet is interrupted.
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_sync::{Queue, select};
/// use std::{rc::Rc, time::Duration};
///
/// let (words, numbers) = (Rc::new(Queue::unbounded()), Rc::new(Queue::unbounded()));
/// spawn({ let words = Rc::clone(&words); move || words.put("one") });
/// spawn({ let numbers = Rc::clone(&numbers); move || numbers.put(2) });
/// let mut seen = Vec::new();
/// loop {
///     select! {
///         word = words.get() => seen.push(word?.to_string()),
///         number = numbers.get() => seen.push(number?.to_string()),
///         _ = sleep(Duration::from_millis(20)) => break,
///     }
/// }
/// seen.sort();
/// assert_eq!(seen, ["2", "one"]);
/// # Ok::<(), greenlet_sync::ShutDown>(())
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)+) => {
        $crate::__select!(@arms [] $($arms)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // ---- `pattern = expression => body,`: each becomes `{ [pattern] [expression] [body] }` ----
    (@arms [$($done:tt)*]) => {{
        #[allow(unused_imports, reason = "not every arm needs them")]
        use $crate::select::{SelectGet as _, SelectJoin as _, SelectPut as _, Selectable as _};
        let chosen = $crate::select::choose($crate::__select!(@list $($done)*));
        $crate::__select!(@match chosen $($done)*)
    }};
    (@arms [$($done:tt)*] default => $body:expr $(,)?) => {{
        #[allow(unused_imports, reason = "not every arm needs them")]
        use $crate::select::{SelectGet as _, SelectJoin as _, SelectPut as _, Selectable as _};
        let chosen = $crate::select::choose_now($crate::__select!(@list $($done)*));
        match chosen {
            ::core::option::Option::Some(chosen) => $crate::__select!(@match chosen $($done)*),
            ::core::option::Option::None => $body,
        }
    }};
    (@arms [$($done:tt)*] default => $($rest:tt)*) => {
        ::core::compile_error!("`default` is the last arm of a `select!`")
    };
    (@arms [$($done:tt)*] $pattern:pat = $($rest:tt)*) => {
        $crate::__select!(@expression [$($done)*] [$pattern] [] $($rest)*)
    };

    // Up to the `=>`. Several tokens at a time, since each step is one level of recursion.
    (@expression $done:tt $pattern:tt [$($e:tt)*] => $($rest:tt)*) => {
        $crate::__select!(@body $done $pattern [$($e)*] $($rest)*)
    };
    (@expression $done:tt $pattern:tt [$($e:tt)*] $a:tt => $($rest:tt)*) => {
        $crate::__select!(@body $done $pattern [$($e)* $a] $($rest)*)
    };
    (@expression $done:tt $pattern:tt [$($e:tt)*] $a:tt $b:tt => $($rest:tt)*) => {
        $crate::__select!(@body $done $pattern [$($e)* $a $b] $($rest)*)
    };
    (@expression $done:tt $pattern:tt [$($e:tt)*] $a:tt $b:tt $c:tt => $($rest:tt)*) => {
        $crate::__select!(@body $done $pattern [$($e)* $a $b $c] $($rest)*)
    };
    (@expression $done:tt $pattern:tt [$($e:tt)*] $a:tt $b:tt $c:tt $d:tt => $($rest:tt)*) => {
        $crate::__select!(@body $done $pattern [$($e)* $a $b $c $d] $($rest)*)
    };
    (@expression $done:tt $pattern:tt [$($e:tt)*] $a:tt $b:tt $c:tt $d:tt $($rest:tt)*) => {
        $crate::__select!(@expression $done $pattern [$($e)* $a $b $c $d] $($rest)*)
    };

    (@body [$($done:tt)*] $pattern:tt $e:tt $body:block, $($rest:tt)*) => {
        $crate::__select!(@arms [$($done)* { $pattern $e [$body] }] $($rest)*)
    };
    (@body [$($done:tt)*] $pattern:tt $e:tt $body:block $($rest:tt)*) => {
        $crate::__select!(@arms [$($done)* { $pattern $e [$body] }] $($rest)*)
    };
    (@body [$($done:tt)*] $pattern:tt $e:tt $body:expr, $($rest:tt)*) => {
        $crate::__select!(@arms [$($done)* { $pattern $e [$body] }] $($rest)*)
    };
    (@body [$($done:tt)*] $pattern:tt $e:tt $body:expr) => {
        $crate::__select!(@arms [$($done)* { $pattern $e [$body] }])
    };

    // ---- the arms, as nested pairs ----
    (@list) => { () };
    (@list { $pattern:tt [$($e:tt)*] $body:tt } $($rest:tt)*) => {
        ($crate::__select!(@arm [] $($e)*), $crate::__select!(@list $($rest)*))
    };

    // ---- the last call of an expression ----
    (@arm [$($of:tt)+] . get ()) => { $($of)+ . select_get() };
    (@arm [$($of:tt)+] . put ($item:expr $(,)?)) => { $($of)+ . select_put($item) };
    (@arm [$($of:tt)+] . wait ()) => { $($of)+ . select_wait() };
    (@arm [$($of:tt)+] . join ()) => { $($of)+ . select_join() };
    (@arm [$($of:tt)+] . acquire ()) => { $($of)+ . select_with(|it| it.try_acquire()) };
    (@arm [$($of:tt)+] . lock ()) => { $($of)+ . select_with(|it| it.try_lock()) };
    (@arm [] sleep $argument:tt) => { $crate::select::sleep $argument };
    (@arm [$($path:tt)*] :: sleep $argument:tt) => { $crate::select::sleep $argument };
    (@arm [] sleep_until $argument:tt) => { $crate::select::sleep_until $argument };
    (@arm [$($path:tt)*] :: sleep_until $argument:tt) => { $crate::select::sleep_until $argument };
    (@arm [] wait_readable $argument:tt) => { $crate::select::descriptor_readable $argument };
    (@arm [$($path:tt)*] :: wait_readable $argument:tt) => { $crate::select::descriptor_readable $argument };
    (@arm [] wait_writable $argument:tt) => { $crate::select::descriptor_writable $argument };
    (@arm [$($path:tt)*] :: wait_writable $argument:tt) => { $crate::select::descriptor_writable $argument };
    (@arm [$($before:tt)*] $next:tt $($rest:tt)*) => { $crate::__select!(@arm [$($before)* $next] $($rest)*) };
    (@arm [$($e:tt)*]) => { $($e)* };

    // ---- the bodies ----
    (@match $chosen:ident) => { match $chosen {} };
    (@match $chosen:ident { [$pattern:pat] $e:tt [$body:expr] } $($rest:tt)*) => {
        match $chosen {
            // By itself, so that the compiler tells the user of what his pattern leaves out, and not of `Chosen`.
            $crate::select::Chosen::This(value) => match value {
                $pattern => $body,
            },
            $crate::select::Chosen::Other(other) => $crate::__select!(@match other $($rest)*),
        }
    };
}
