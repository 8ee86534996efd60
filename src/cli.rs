//! The command line: what the arguments ask for.
