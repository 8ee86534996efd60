//! HELLO as the master answers it, cut around the connection's id, which every client gets its own of; CLIENT INFO
//! emptied of what is its connection's.

use crate::topology::Greeting;

/// The field's name in the reply and the type byte of its value, the same in RESP2 and RESP3.
const ID: &[u8] = b"$2\r\nid\r\n:";

/// Both replies cut; `None` when either is an error or has no id (Redis before 6).
pub(super) fn cut(resp2: &[u8], resp3: &[u8], client_info: &[u8]) -> Option<Greeting> {
    Some(Greeting {
        resp2: around_id(resp2)?,
        resp3: around_id(resp3)?,
        client_fields: fields(client_info).unwrap_or_default(),
    })
}

/// The fields of a line of CLIENT INFO with neutral values: numbers are 0 unless they are -1, texts are empty.
fn fields(reply: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(reply).ok()?;
    let (head, line) = text.split_once("\r\n")?;
    let line = line.trim_end();
    if !head.starts_with('$') || !line.starts_with("id=") {
        return None;
    }
    let neutral = |field: &str| {
        let (name, value) = field.split_once('=')?;
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        Some(match (name, value) {
            ("events", value) | (_, value @ "-1") => format!("{name}={value}"),
            _ if is_number => format!("{name}=0"),
            _ => format!("{name}="),
        })
    };
    let fields: Option<Vec<_>> = line.split(' ').map(neutral).collect();
    Some(fields?.join(" "))
}

fn around_id(reply: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if !matches!(reply.first(), Some(b'*' | b'%')) {
        return None;
    }
    let digits = memchr::memmem::find(reply, ID)? + ID.len();
    let rest = &reply[digits..];
    let end = memchr::memchr(b'\r', rest)?;
    let number = &rest[..end];
    if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((reply[..digits].to_vec(), rest[end..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESP2: &[u8] = b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:10\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    const RESP3: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:10\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

    const INFO: &[u8] =
        b"$79\r\nid=3 addr=[::1]:5 name=x flags=N multi=-1 rbs=16384 events=r resp=2 lib-name=\n\r\n";

    #[test]
    fn both_halves_with_any_id_between_them_are_a_greeting() {
        let greeting = cut(RESP2, RESP3, INFO).unwrap();
        let with_same_id = |(head, tail): &(Vec<u8>, Vec<u8>)| [head.as_slice(), b"10", tail].concat();
        assert_eq!(with_same_id(&greeting.resp2), RESP2);
        assert_eq!(with_same_id(&greeting.resp3), RESP3);
        assert_eq!(
            greeting.client_fields,
            "id=0 addr= name= flags= multi=-1 rbs=0 events=r resp=0 lib-name="
        );
    }

    #[test]
    fn a_server_that_refuses_hello_has_no_greeting() {
        assert_eq!(cut(b"-ERR unknown command `HELLO`\r\n", RESP3, INFO), None);
        assert_eq!(cut(RESP2, b"-NOPROTO sorry\r\n", INFO), None);
        assert_eq!(cut(RESP2, b"%1\r\n$2\r\nid\r\n:\r\n", INFO), None);
    }
}
