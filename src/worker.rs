//! The data plane: threads that share nothing while they serve.

mod mailbox;

pub use mailbox::{Hint, Inbox, Mail, WorkerHandle};
