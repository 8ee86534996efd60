//! File descriptors: the process takes all that it may have, and says so when that is too few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Descriptors beyond one per client: links, leases, listeners, admin connections, probes.
const OVERHEAD: u64 = 512;

/// Raises the soft limit on open files to the hard one.
pub(super) fn raise_limit(clients: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let wanted = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            warn!(%error, "cannot raise the limit on open files");
        }
    }
    let files = getrlimit(Resource::Nofile).current;
    debug!(files, "limit on open files");
    if let Some(files) = files.filter(|files| *files < clients as u64 + OVERHEAD) {
        warn!(
            files,
            clients,
            "open files are limited below what limits.clients needs: raise it (ulimit -n) or lower limits.clients"
        );
    }
}
