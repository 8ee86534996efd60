//! A program: what is sent on which connection, step by step, and the text in which it is printed and kept.
//!
//! ```text
//! # a comment
//! 1> HELLO 3                       a command on connection 1
//! 2> SET a "b c" | GET a           a pipeline, sent in one write
//! 1 raw "PING\r\n"                 bytes as they are
//! 1 scan HSCAN h 0 COUNT 10        an iteration from cursor 0 to its end; what it found is compared as a set
//! 1> CLIENT KILL ID @id2           what each side calls connection 2
//! 1 await                          waits until no client is blocked: time-outs, of which long ones are cut short
//! ```
//!
//! A word stands bare when it is letters, digits and a few signs, and quoted with Rust's byte escapes otherwise.

use std::fmt;

/// One command's words.
pub(crate) type Words = Vec<Vec<u8>>;

/// What is done at one time, on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commands in one write.
    Send(usize, Vec<Words>),
    /// Bytes in one write.
    Raw(usize, Vec<u8>),
    /// A whole iteration: the command with cursor 0.
    Scan(usize, Words),
    /// Until no client is blocked any more.
    Await(usize),
}

impl Step {
    /// The connection that it uses.
    pub(crate) fn connection(&self) -> usize {
        match self {
            Self::Send(connection, _)
            | Self::Raw(connection, _)
            | Self::Scan(connection, _)
            | Self::Await(connection) => *connection,
        }
    }
}

/// Steps, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Program {
    /// The steps.
    pub(crate) steps: Vec<Step>,
}

impl Program {
    /// How many connections it uses, counted from 1.
    pub(crate) fn connections(&self) -> usize {
        self.steps.iter().map(Step::connection).max().unwrap_or(0)
    }

    /// How many commands it has.
    pub(crate) fn commands(&self) -> usize {
        let count = |step: &Step| match step {
            Step::Send(_, commands) => commands.len(),
            _ => 1,
        };
        self.steps.iter().map(count).sum()
    }

    /// Whether a command of it is so.
    pub(crate) fn any(&self, is_so: impl Fn(&Words) -> bool) -> bool {
        let commands = |step: &Step| match step {
            Step::Send(_, commands) => commands.iter().any(&is_so),
            Step::Scan(_, words) => is_so(words),
            Step::Raw(..) | Step::Await(_) => false,
        };
        self.steps.iter().any(commands)
    }

    /// Reads the text that [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        for line in text.lines().map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                steps.push(parse_step(line).ok_or_else(|| format!("not a step: {line}"))?);
            }
        }
        Ok(Self { steps })
    }
}

fn parse_step(line: &str) -> Option<Step> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let connection: usize = line[..digits]
        .parse()
        .ok()
        .filter(|number| (1..=9).contains(number))?;
    let rest = line[digits..].trim_start();
    if let Some(commands) = rest.strip_prefix('>') {
        let mut split: Vec<Words> = vec![Vec::new()];
        for token in tokens(commands)? {
            match token {
                Token::Word(word) => split.last_mut()?.push(word),
                Token::Bar => split.push(Vec::new()),
            }
        }
        return (!split.iter().any(Vec::is_empty)).then_some(Step::Send(connection, split));
    }
    let (kind, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let words: Option<Words> = tokens(rest)?
        .into_iter()
        .map(|token| match token {
            Token::Word(word) => Some(word),
            Token::Bar => None,
        })
        .collect();
    let words = words?;
    match (kind, words.as_slice()) {
        ("raw", [bytes]) => Some(Step::Raw(connection, bytes.clone())),
        ("scan", [_, ..]) => Some(Step::Scan(connection, words)),
        ("await", []) => Some(Step::Await(connection)),
        _ => None,
    }
}

enum Token {
    Word(Vec<u8>),
    Bar,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (word, after) = quoted(&rest[1..])?;
            found.push(Token::Word(word));
            rest = after.trim_start();
        } else {
            let end = rest.find(' ').unwrap_or(rest.len());
            let word = &rest[..end];
            found.push(if word == "|" {
                Token::Bar
            } else {
                Token::Word(word.as_bytes().to_vec())
            });
            rest = rest[end..].trim_start();
        }
    }
    Some(found)
}

/// The bytes up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(Vec<u8>, &str)> {
    let bytes = text.as_bytes();
    let (mut word, mut at) = (Vec::new(), 0);
    loop {
        match (*bytes.get(at)?, bytes.get(at + 1)) {
            (b'"', _) => return Some((word, &text[at + 1..])),
            (b'\\', Some(b'x')) => {
                word.push(u8::from_str_radix(text.get(at + 2..at + 4)?, 16).ok()?);
                at += 4;
            }
            (b'\\', Some(escaped)) => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                at += 2;
            }
            (plain, _) => {
                word.push(plain);
                at += 1;
            }
        }
    }
}

fn word(bytes: &[u8]) -> String {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:*+()[]=@~$!,&>/".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(bare) {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        format!("\"{}\"", bytes.escape_ascii())
    }
}

/// One command as it is printed.
pub(crate) fn line(words: &Words) -> String {
    let words: Vec<String> = words.iter().map(|bytes| word(bytes)).collect();
    words.join(" ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(connection, commands) => {
                let commands: Vec<String> = commands.iter().map(line).collect();
                write!(f, "{connection}> {}", commands.join(" | "))
            }
            Self::Raw(connection, bytes) => write!(f, "{connection} raw \"{}\"", bytes.escape_ascii()),
            Self::Scan(connection, words) => write!(f, "{connection} scan {}", line(words)),
            Self::Await(connection) => write!(f, "{connection} await"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

#[test]
fn what_is_printed_is_read_back() {
    let text = "1> HELLO 3\n2> SET a \"b \\\" c\\x00\\r\\n\" | GET \"|\" | ECHO \"\"\n1 raw \"PING\\r\\n\"\n\
                1 scan HSCAN h 0 COUNT 10\n2 await\n";
    let program = Program::parse(text).expect("it is the format");
    assert_eq!(program.to_string(), text);
    assert_eq!((program.connections(), program.commands()), (2, 7));
    assert_eq!(
        program.steps[1],
        Step::Send(
            2,
            vec![
                vec![b"SET".to_vec(), b"a".to_vec(), b"b \" c\0\r\n".to_vec()],
                vec![b"GET".to_vec(), b"|".to_vec()],
                vec![b"ECHO".to_vec(), Vec::new()],
            ]
        )
    );
    for bad in [
        "> GET a",
        "1> GET a |",
        "1 row x",
        "0> GET a",
        "1> \"open",
        "1 await now",
    ] {
        assert!(Program::parse(bad).is_err(), "{bad}");
    }
}
