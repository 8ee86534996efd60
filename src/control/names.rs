//! One task per host name: resolves it again and again, and when somebody wants to know.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::connection::Failure;
use super::members::unknown_name;

/// However often it is poked, a name is not resolved more often than this.
const BETWEEN: Duration = Duration::from_millis(200);
/// A resolver that gives no answer in this time is asked again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a name stands for, or why that is not known; never an empty list.
pub(super) type Addresses = Result<Vec<IpAddr>, Failure>;

/// Resolves until the control plane is gone.
pub(super) async fn resolve(
    host: String,
    interval: Duration,
    heard: mpsc::Sender<super::Heard>,
    poke: Arc<Notify>,
) {
    loop {
        let addresses = look_up(&host, PATIENCE).await;
        if heard
            .send(super::Heard::Name(host.clone(), addresses))
            .await
            .is_err()
        {
            return;
        }
        sleep(BETWEEN.min(interval)).await;
        tokio::select! {
            () = sleep(interval.saturating_sub(BETWEEN)) => {}
            () = poke.notified() => {}
        }
    }
}

/// Resolves once, within `patience`.
pub(super) async fn look_up(host: &str, patience: Duration) -> Addresses {
    // The port is of no interest here.
    match timeout(patience, lookup_host((host, 0))).await {
        Ok(Ok(found)) => {
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            if addresses.is_empty() {
                Err(unknown_name("it has no address"))
            } else {
                Ok(addresses)
            }
        }
        Ok(Err(error)) => Err(unknown_name(error)),
        Err(_) => Err(unknown_name("no answer in time")),
    }
}
