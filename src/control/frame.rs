//! Finds where a reply on a control connection ends, before anything decodes it.
//!
//! Iterative, resumable, and bounded in bytes and depth: redis-protocol recurses on what it decodes,
//! so only whole replies of known depth reach it. Not for the data path, which has its own scanner.

/// Deeper than any reply to COMMAND, INFO or HELLO (COMMAND: 7 with key specifications).
const MAX_DEPTH: usize = 16;

/// Progress through one reply.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    at: usize,
    /// Elements missing in each open aggregate, from the outermost in.
    open: Vec<u64>,
}

impl Boundary {
    /// Looks on from where the last call stopped; `reply` must start with the same bytes as then.
    /// `Some(end)` once the reply is complete; an error when it is not RESP, too deep or too large.
    pub(super) fn find(&mut self, reply: &[u8], max_bytes: usize) -> Result<Option<usize>, String> {
        loop {
            let Some(header) = reply.get(self.at..).filter(|rest| !rest.is_empty()) else {
                return within(reply.len(), max_bytes).map(|()| None);
            };
            let Some(line) = memchr::memchr(b'\n', header) else {
                return within(reply.len(), max_bytes).map(|()| None);
            };
            let text = header[1..=line]
                .strip_suffix(b"\r\n")
                .ok_or("a line without CR LF")?;
            let after = self.at + line + 1;
            match header[0] {
                b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => {
                    self.at = after;
                    self.close();
                }
                b'$' | b'=' | b'!' => {
                    let end = match length(text)? {
                        None => after,
                        Some(bytes) => {
                            let bytes = usize::try_from(bytes).map_err(|_| "a length beyond memory")?;
                            after
                                .checked_add(bytes)
                                .and_then(|end| end.checked_add(2))
                                .ok_or("a length beyond memory")?
                        }
                    };
                    within(end, max_bytes)?;
                    if reply.len() < end {
                        return Ok(None);
                    }
                    self.at = end;
                    self.close();
                }
                kind @ (b'*' | b'~' | b'>' | b'%') => {
                    let elements = length(text)?.unwrap_or(0);
                    let per_element = if kind == b'%' { 2 } else { 1 };
                    self.at = after;
                    match elements.saturating_mul(per_element) {
                        0 => self.close(),
                        missing if self.open.len() < MAX_DEPTH => self.open.push(missing),
                        _ => return Err(format!("nested deeper than {MAX_DEPTH}")),
                    }
                }
                other => return Err(format!("an unexpected byte {:?}", char::from(other))),
            }
            if self.open.is_empty() {
                return within(self.at, max_bytes).map(|()| Some(self.at));
            }
        }
    }

    /// One value is complete; so is every aggregate of which it was the last element.
    fn close(&mut self) {
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
    }
}

fn within(bytes: usize, max_bytes: usize) -> Result<(), String> {
    if bytes > max_bytes {
        return Err(format!("larger than {max_bytes} bytes"));
    }
    Ok(())
}

/// The number behind a type byte; `None` for -1, a null.
fn length(text: &[u8]) -> Result<Option<u64>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "a length that is no number")?;
    if text == "-1" {
        return Ok(None);
    }
    let number = text
        .parse()
        .map_err(|_| format!("a length that is no number: {text:.20}"))?;
    Ok(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 9] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"$-1\r\n",
        b"$5\r\na\r\nbc\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n*1\r\n*1\r\n_\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n#t\r\n",
        b"=7\r\ntxt:abc\r\n",
    ];

    #[test]
    fn the_end_is_found_whole_and_cut_anywhere() {
        for reply in REPLIES {
            let mut more = reply.to_vec();
            more.extend_from_slice(b"+next\r\n");
            assert_eq!(Boundary::default().find(&more, 1000), Ok(Some(reply.len())));
            let mut boundary = Boundary::default();
            for end in 1..reply.len() {
                assert_eq!(boundary.find(&reply[..end], 1000), Ok(None), "{end} of {reply:?}");
            }
            assert_eq!(boundary.find(reply, 1000), Ok(Some(reply.len())));
        }
    }

    #[test]
    fn depth_and_size_are_bounded_before_anything_is_allocated() {
        let deep = b"*1\r\n".repeat(2000);
        assert!(
            Boundary::default()
                .find(&deep, 1 << 20)
                .unwrap_err()
                .contains("deeper")
        );
        assert!(
            Boundary::default()
                .find(b"$2000000\r\n", 1 << 20)
                .unwrap_err()
                .contains("larger")
        );
        assert!(
            Boundary::default()
                .find(b"$99999999999999999999\r\n", 1 << 20)
                .is_err()
        );
        assert!(
            Boundary::default()
                .find(b"$18446744073709551615\r\n", 1 << 20)
                .is_err()
        );
        assert!(
            Boundary::default()
                .find(&[b'+'; 2000], 1000)
                .unwrap_err()
                .contains("larger")
        );
        assert_eq!(Boundary::default().find(b"*1000000000\r\n", 1 << 20), Ok(None));
        assert_eq!(
            Boundary::default().find(b"%18446744073709551615\r\n:1\r\n", 1 << 20),
            Ok(None)
        );
    }

    #[test]
    fn what_is_not_resp_is_an_error() {
        for bytes in [
            b"HTTP/1.1 400\r\n".as_slice(),
            b"+OK\n",
            b"$x\r\n",
            b"$-2\r\n",
            b"|1\r\n",
        ] {
            assert!(Boundary::default().find(bytes, 1000).is_err(), "{bytes:?}");
        }
    }
}
