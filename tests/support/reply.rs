//! A reply as a test sees it: RESP2 and RESP3, with short ways to say what is expected.

use std::fmt;

/// One decoded reply. Numbers that RESP carries as text stay text, so that nothing is lost by decoding.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`, without the minus; RESP3's bulk errors too.
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3 foo`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or RESP3's `_`: which one is told by [`super::Client::last_bytes`].
    Null,
    /// `*2 ...`
    Array(Vec<Reply>),
    /// `,3.14` as it was written.
    Double(String),
    /// `#t`
    Boolean(bool),
    /// `(123...`
    BigNumber(String),
    /// `=15 txt:...` without the format.
    Verbatim(Vec<u8>),
    /// `%1 ...`
    Map(Vec<(Reply, Reply)>),
    /// `~2 ...`
    Set(Vec<Reply>),
    /// `>2 ...`
    Push(Vec<Reply>),
}

impl Reply {
    /// `+OK`
    pub fn ok() -> Self {
        Self::Simple("OK".to_owned())
    }

    /// A bulk string of these bytes.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// Whether the server refused.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The text of a string reply of any kind, of a number or of an error.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) | Self::Error(text) | Self::Double(text) | Self::BigNumber(text) => {
                text.clone()
            }
            Self::Integer(number) => number.to_string(),
            Self::Bulk(bytes) | Self::Verbatim(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("expected a string reply, got {other:?}"),
        }
    }

    /// The number of an integer reply.
    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("expected an integer reply, got {other:?}"),
        }
    }

    /// The text of an error reply.
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Self::Error(text) => text,
            other => panic!("expected an error reply, got {other:?}"),
        }
    }

    /// The elements of an array, a set or a push; a map's keys and values in turn (RESP2's shape of it).
    #[track_caller]
    pub fn items(&self) -> Vec<Self> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items.clone(),
            Self::Map(pairs) => pairs
                .iter()
                .flat_map(|(key, value)| [key.clone(), value.clone()])
                .collect(),
            other => panic!("expected an aggregate reply, got {other:?}"),
        }
    }

    /// The value under `key` of a map, or of an array that alternates keys and values.
    pub fn field(&self, key: &str) -> Option<Self> {
        self.items()
            .chunks_exact(2)
            .find(|pair| pair[0].text() == key)
            .map(|pair| pair[1].clone())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Integer(number) => write!(f, ":{number}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Null => f.write_str("null"),
            Self::Array(items) => f.debug_list().entries(items).finish(),
            Self::Double(text) => write!(f, ",{text}"),
            Self::Boolean(value) => write!(f, "#{value}"),
            Self::BigNumber(text) => write!(f, "({text}"),
            Self::Verbatim(bytes) => write!(f, "=\"{}\"", bytes.escape_ascii()),
            Self::Map(pairs) => f
                .debug_map()
                .entries(pairs.iter().map(|(key, value)| (key, value)))
                .finish(),
            Self::Set(items) => f.debug_set().entries(items).finish(),
            Self::Push(items) => {
                f.write_str(">")?;
                f.debug_list().entries(items).finish()
            }
        }
    }
}
