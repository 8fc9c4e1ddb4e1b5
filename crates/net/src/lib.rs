//! greenlet-net
