//! redis-ambassador: makes a replication group look like one plain Redis on localhost.
