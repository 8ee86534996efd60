//! A relay before a real server that says something of its own when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the relay says instead of the server, and to what.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) to: &'static [u8],
    pub(crate) start: &'static [u8],
    /// Said over and over behind `start`, so many times.
    pub(crate) repeated: (&'static [u8], usize),
    /// The connection is closed behind it.
    pub(crate) close: bool,
}

impl Fault {
    pub(crate) fn says(to: &'static [u8], start: &'static [u8]) -> Self {
        Self {
            to,
            start,
            repeated: (b"", 0),
            close: false,
        }
    }

    pub(crate) fn then(self, bytes: &'static [u8], times: usize) -> Self {
        Self {
            repeated: (bytes, times),
            ..self
        }
    }

    pub(crate) fn and_closes(self) -> Self {
        Self { close: true, ..self }
    }
}

/// Passes connections on to a real server, and tells lies when asked to.
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) fault: Arc<Mutex<Option<Fault>>>,
}

impl Relay {
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let fault = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&fault);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                let _ = (stream.set_nodelay(true), upstream.set_nodelay(true));
                let (Ok(back), Ok(from)) = (stream.try_clone(), upstream.try_clone()) else {
                    continue;
                };
                thread::spawn(move || pass_on(from, back));
                let fault = Arc::clone(&shared);
                thread::spawn(move || ask(stream, upstream, &fault));
            }
        });
        Self { port, fault }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        *self.fault.lock().expect("no thread panics with it") = Some(fault);
    }

    pub(crate) fn disarm(&self) {
        *self.fault.lock().expect("no thread panics with it") = None;
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn ask(mut client: TcpStream, mut server: TcpStream, fault: &Mutex<Option<Fault>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..read];
        let armed = fault.lock().expect("no thread panics with it").clone();
        let found = armed.and_then(|fault| Some((find(bytes, fault.to)?, fault)));
        let Some((at, fault)) = found else {
            if server.write_all(bytes).is_err() {
                break;
            }
            continue;
        };
        // What came before is answered by the server, in its place.
        let _ = server.write_all(&bytes[..at]);
        thread::sleep(Duration::from_millis(50));
        let mut lie = fault.start.to_vec();
        lie.extend_from_slice(&fault.repeated.0.repeat(fault.repeated.1));
        if client.write_all(&lie).is_err() || fault.close {
            break;
        }
        let _ = server.write_all(&bytes[at + fault.to.len()..]);
    }
    let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
