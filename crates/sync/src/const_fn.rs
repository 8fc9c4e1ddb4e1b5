//! Constructors that are `const`, but for loom, whose atomics cannot be made in a constant.

/// Writes a function down as `const`, and without it for loom.
macro_rules! const_unless_loom {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($parameter:ident: $type:ty),*) -> $result:ty $body:block) => {
        $(#[$attribute])*
        #[cfg(not(greenlet_loom))]
        $visibility const fn $name($($parameter: $type),*) -> $result $body

        $(#[$attribute])*
        #[cfg(greenlet_loom)]
        $visibility fn $name($($parameter: $type),*) -> $result $body
    };
}

pub(crate) use const_unless_loom;
