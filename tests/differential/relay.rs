//! A relay that changes some bytes of what a server says: a difference that has to be found.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// Relays to `server`; replaces `from` by `to`, of the same length, in its replies. Gives its port. The threads end
/// with their connections, the one that accepts with the test's process.
pub(crate) fn start(server: u16, from: &'static [u8], to: &'static [u8]) -> u16 {
    assert_eq!(from.len(), to.len());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(("127.0.0.1", server)).expect("the server is there");
            for stream in [&client, &upstream] {
                stream.set_nodelay(true).expect("a socket takes the option");
            }
            let (client_too, upstream_too) = (clone(&client), clone(&upstream));
            thread::spawn(move || pass(client, upstream, None));
            thread::spawn(move || pass(upstream_too, client_too, Some((from, to))));
        }
    });
    port
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket can be copied")
}

fn pass(mut from: TcpStream, mut to: TcpStream, change: Option<(&[u8], &[u8])>) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if let Some((old, new)) = change {
            // A reply that two reads cut is not changed; others are.
            while let Some(at) = chunk[..count].windows(old.len()).position(|window| window == old) {
                chunk[at..at + new.len()].copy_from_slice(new);
            }
        }
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
