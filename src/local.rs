//! (module local)
