//! (module admin)
