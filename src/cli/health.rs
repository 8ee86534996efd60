//! `health`: asks a running ambassador whether it is ready. An image without a shell or curl has only this.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Health checks are asked every few seconds; one that takes longer than this has its answer.
const BOUND: Duration = Duration::from_secs(2);
/// The answer is a line or two.
const MAX_ANSWER: usize = 1 << 16;

/// What the ambassador said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) is_ready: bool,
    pub(super) body: String,
}

/// Asks; an error when no answer came.
pub(super) fn ask(admin: Option<SocketAddr>) -> Result<Answer, String> {
    let Some(listener) = admin else {
        return Err("the admin listener is switched off, so there is nobody to ask".to_owned());
    };
    let address = reachable(listener);
    let answer = exchange(address).map_err(|error| format!("no answer from {address}: {error}"))?;
    understand(&answer).ok_or_else(|| format!("{address} does not answer as an ambassador does"))
}

/// A listener on all addresses is reached on the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn exchange(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let end = Instant::now() + BOUND;
    let mut stream = TcpStream::connect_timeout(&address, BOUND)?;
    stream.set_write_timeout(Some(BOUND))?;
    // HTTP/1.0: the answer ends with the connection, and is never in chunks.
    let request = format!("GET /ready HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while answer.len() < MAX_ANSWER {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    Ok(answer)
}

fn understand(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let status: u16 = status.parse().ok()?;
    Some(Answer {
        is_ready: status == 200,
        body: body.to_owned(),
    })
}
