//! `Failure`: why a greenlet has no value, for many to be told.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use greenlet_hub::JoinError;

/// Why a greenlet has no value: a [`JoinError`] that can be cloned and shared between threads. The error of an [`AsyncResult`](crate::AsyncResult).
///
/// # Examples
///
/// ```
/// use greenlet_hub::spawn;
/// use greenlet_sync::{AsyncResult, Failure};
///
/// let result = AsyncResult::of(spawn(|| { if true { panic!("out of luck") } }));
/// assert!(matches!(result.get(), Err(Failure::Panicked(message)) if &*message == "out of luck"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The closure panicked; with the message, if it was one.
    Panicked(Arc<str>),
    /// The greenlet was killed.
    Killed,
    /// There was no stack for it.
    NoStack(Arc<io::Error>),
    /// The thread of its hub ended before it did.
    HubEnded,
    /// Something else, as the error says it.
    Other(Arc<str>),
}

impl From<JoinError> for Failure {
    fn from(err: JoinError) -> Failure {
        match err {
            JoinError::Panicked(payload) => Failure::Panicked(match payload.downcast_ref::<&str>() {
                Some(message) => (*message).into(),
                None => payload.downcast_ref::<String>().map_or("(no message)", String::as_str).into(),
            }),
            JoinError::Killed => Failure::Killed,
            JoinError::NoStack(err) => Failure::NoStack(Arc::new(err)),
            JoinError::HubEnded => Failure::HubEnded,
            other => Failure::Other(other.to_string().into()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Panicked(message) => write!(f, "the greenlet panicked: {message}"),
            Failure::Killed => f.write_str("the greenlet was killed"),
            Failure::NoStack(err) => write!(f, "there was no stack for the greenlet: {err}"),
            Failure::HubEnded => f.write_str("the thread of the greenlet's hub has ended"),
            Failure::Other(text) => f.write_str(text),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Failure::NoStack(err) => Some(err),
            _ => None,
        }
    }
}
