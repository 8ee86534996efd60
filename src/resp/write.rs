//! The few replies and requests that the ambassador writes itself.

/// Appends an array of bulk strings: a request.
pub fn request<'a, I>(out: &mut Vec<u8>, arguments: I)
where
    I: IntoIterator<Item = &'a [u8]>,
    I::IntoIter: ExactSizeIterator,
{
    let arguments = arguments.into_iter();
    out.push(b'*');
    decimal(out, arguments.len() as u64);
    for argument in arguments {
        bulk(out, argument);
    }
}

/// Appends a bulk string.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    decimal(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a verbatim string (`txt`) in RESP3, a bulk string in RESP2.
pub fn text(out: &mut Vec<u8>, resp3: bool, bytes: &[u8]) {
    if !resp3 {
        return bulk(out, bytes);
    }
    out.push(b'=');
    decimal(out, bytes.len() as u64 + 4);
    out.extend_from_slice(b"txt:");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends an integer.
pub fn integer(out: &mut Vec<u8>, value: u64) {
    out.push(b':');
    decimal(out, value);
}

/// Appends an error whose text begins with its code. Line ends in it become blanks.
pub fn error(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.push(b'-');
    let is_end = |byte: u8| byte == b'\r' || byte == b'\n';
    out.extend(
        text.as_ref()
            .iter()
            .map(|byte| if is_end(*byte) { b' ' } else { *byte }),
    );
    out.extend_from_slice(b"\r\n");
}

/// Appends the null of the given protocol version.
pub fn null(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// Appends decimal digits and a line end.
fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #[test]
    fn writes_requests_and_errors() {
        let mut out = Vec::new();
        super::request(&mut out, [&b"SET"[..], b"a", b""]);
        super::error(&mut out, "ERR two\r\nlines");
        super::integer(&mut out, 1024);
        assert_eq!(
            out,
            b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n-ERR two  lines\r\n:1024\r\n"
        );
    }
}
