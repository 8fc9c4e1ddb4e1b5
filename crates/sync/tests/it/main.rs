//! The behaviour of the primitives.
