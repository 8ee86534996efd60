//! What a client may send at most, and what it is told when it sends something that is no request.

/// What a request may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most arguments.
    pub arguments: usize,
    /// The longest argument in bytes.
    pub bulk: usize,
}

/// A line of more bytes servers give up on (`PROTO_INLINE_MAX_SIZE` in Redis's server.h).
const ENDLESS: usize = 64 * 1024;

/// A request that can never become a valid one. The texts are Redis's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number of arguments is no number, or too large.
    MultibulkLength,
    /// The length of an argument is no number, negative or too large.
    BulkLength,
    /// An argument does not start with `$`.
    ExpectedDollar(u8),
    /// The line with the number of arguments does not end.
    BigMultibulkCount,
    /// The line with an argument's length does not end.
    BigBulkCount,
    /// An inline request does not end.
    BigInline,
    /// Quotes in an inline request do not balance.
    UnbalancedQuotes,
    /// CR LF was expected.
    ExpectedLineEnd,
}

impl ProtocolError {
    /// Appends the error reply that Redis sends before it closes the connection.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"-ERR Protocol error: ");
        match self {
            ProtocolError::MultibulkLength => out.extend_from_slice(b"invalid multibulk length"),
            ProtocolError::BulkLength => out.extend_from_slice(b"invalid bulk length"),
            ProtocolError::ExpectedDollar(got) => {
                out.extend_from_slice(b"expected '$', got '");
                // A reply is one line: what would end it is shown as a blank.
                out.push(if got == b'\r' || got == b'\n' { b' ' } else { got });
                out.push(b'\'');
            }
            ProtocolError::BigMultibulkCount => out.extend_from_slice(b"too big mbulk count string"),
            ProtocolError::BigBulkCount => out.extend_from_slice(b"too big bulk count string"),
            ProtocolError::BigInline => out.extend_from_slice(b"too big inline request"),
            ProtocolError::UnbalancedQuotes => out.extend_from_slice(b"unbalanced quotes in request"),
            ProtocolError::ExpectedLineEnd => out.extend_from_slice(b"expected CRLF after an argument"),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Appends what makes a server say the same and close the connection, where its replies to what came before must
    /// come first. `within`: a request has begun, and the length of an argument is next; what is wrong behind an
    /// argument ([`ProtocolError::ExpectedLineEnd`]) no server says, so it is told of a wrong length instead.
    pub fn provoke(self, within: bool, out: &mut Vec<u8>) {
        let of_an_argument = matches!(
            self,
            ProtocolError::BulkLength
                | ProtocolError::ExpectedLineEnd
                | ProtocolError::ExpectedDollar(_)
                | ProtocolError::BigBulkCount
        );
        if of_an_argument && !within {
            out.extend_from_slice(b"*1\r\n");
        }
        let endless = |out: &mut Vec<u8>, begin: u8| {
            out.push(begin);
            out.resize(out.len() + ENDLESS, b'1');
        };
        match self {
            ProtocolError::MultibulkLength => out.extend_from_slice(b"*x\r\n"),
            ProtocolError::BulkLength | ProtocolError::ExpectedLineEnd => out.extend_from_slice(b"$x\r\n"),
            ProtocolError::ExpectedDollar(got) => out.extend_from_slice(&[got, b'\r', b'\n']),
            ProtocolError::BigMultibulkCount => endless(out, b'*'),
            ProtocolError::BigBulkCount => endless(out, b'$'),
            ProtocolError::BigInline => endless(out, b'1'),
            ProtocolError::UnbalancedQuotes => out.extend_from_slice(b"\"\r\n"),
        }
    }
}
