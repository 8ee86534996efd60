//! (module ambassador)
