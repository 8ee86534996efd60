//! Where keys stand when that depends on the arguments: `COMMAND`'s key specifications, as the table writes them.
//!
//! Used to explain a request; the request path needs no keys yet.

/// One specification: where to begin, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySpec {
    begin: Begin,
    find: Find,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Begin {
    /// At this argument.
    Index(i64),
    /// After this word, looked for from an argument on; from a negative one backwards.
    Keyword(String, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Find {
    /// Up to `last` (relative to the beginning; negative: from the end), every `step`th, and with a `limit` above 1
    /// only that part of what is left.
    Range { last: i64, step: i64, limit: i64 },
    /// An argument counts the keys; both positions are relative to the beginning.
    Counted { count_at: i64, first: i64, step: i64 },
}

impl KeySpec {
    /// `index:2 keynum:0,1,1`, `keyword:STREAMS,1 range:-1,1,2`; `Ok(None)` for `unknown`.
    pub(super) fn parse(text: &str) -> Result<Option<KeySpec>, String> {
        if text == "unknown" {
            return Ok(None);
        }
        let spec = text.split_once(' ').and_then(|(begin, find)| {
            Some(KeySpec {
                begin: parse_begin(begin)?,
                find: parse_find(find)?,
            })
        });
        spec.map(Some)
            .ok_or_else(|| format!("no key specification: {text}"))
    }

    /// The keys' positions among the arguments, the name first; none where the request is not what it should be.
    pub(super) fn positions(&self, arguments: &[&str]) -> Vec<usize> {
        let count = arguments.len() as i64;
        let Some(begin) = self.begin(arguments) else {
            return Vec::new();
        };
        let (first, end, step) = match self.find {
            Find::Range { last, step, limit } => {
                let left = count - begin;
                let end = match last {
                    -1 if limit > 1 => begin + left / limit,
                    last if last < 0 => count + last + 1,
                    last => begin + last + 1,
                };
                (begin, end, step)
            }
            Find::Counted {
                count_at,
                first,
                step,
            } => {
                let number = usize::try_from(begin + count_at)
                    .ok()
                    .and_then(|at| arguments.get(at));
                let number: i64 = number.and_then(|number| number.parse().ok()).unwrap_or(0);
                let first = begin + first;
                (first, first.saturating_add(number.saturating_mul(step)), step)
            }
        };
        let step = usize::try_from(step).unwrap_or(1).max(1);
        (first.max(1)..end.min(count))
            .step_by(step)
            .map(|position| position as usize)
            .collect()
    }

    fn begin(&self, arguments: &[&str]) -> Option<i64> {
        match &self.begin {
            Begin::Index(index) => Some(*index),
            Begin::Keyword(word, from) => {
                let is_word = |position: &usize| arguments[*position].eq_ignore_ascii_case(word);
                let found = if *from >= 0 {
                    (usize::try_from(*from).ok()?..arguments.len()).find(is_word)
                } else {
                    let end = usize::try_from(arguments.len() as i64 + from + 1).ok()?;
                    (1..end).rev().find(is_word)
                };
                found.map(|position| position as i64 + 1)
            }
        }
    }
}

fn parse_begin(text: &str) -> Option<Begin> {
    match text.split_once(':')? {
        ("index", index) => index.parse().ok().map(Begin::Index),
        ("keyword", rest) => {
            let (word, from) = rest.split_once(',')?;
            Some(Begin::Keyword(word.to_owned(), from.parse().ok()?))
        }
        _ => None,
    }
}

fn parse_find(text: &str) -> Option<Find> {
    let (kind, numbers) = text.split_once(':')?;
    let numbers: Option<Vec<i64>> = numbers.split(',').map(|number| number.parse().ok()).collect();
    match (kind, numbers?.as_slice()) {
        ("range", &[last, step, limit]) => Some(Find::Range { last, step, limit }),
        ("keynum", &[count_at, first, step]) => Some(Find::Counted {
            count_at,
            first,
            step,
        }),
        _ => None,
    }
}
