//! The options of CLIENT LIST and CLIENT KILL: which clients they mean. Pure.
//!
//! Whether a request is right the master has said before (`roll_call`): what it takes and this does not know is
//! not guessed at.

use super::client_line::Seen;

/// As many ids are listed in the order and as often as they were asked for: a request must not grow a reply that is
/// larger than itself by more than what clients there are.
const MOST_AS_ASKED: usize = 1024;

/// Which clients are meant; those that match everything given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    ids: Vec<u64>,
    kind: Option<Kind>,
    user: Option<Vec<u8>>,
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    skip_me: bool,
    /// Seconds.
    age: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    PubSub,
    /// Masters and replicas: a client of the ambassador is none.
    Replication,
}

impl Filter {
    /// `CLIENT KILL addr:port`.
    pub(super) fn of_address(address: &[u8]) -> Filter {
        Filter {
            address: Some(address.to_vec()),
            ..Filter::default()
        }
    }

    /// The client with that id.
    pub(super) fn of_id(id: u64) -> Filter {
        Filter {
            ids: vec![id],
            ..Filter::default()
        }
    }

    /// Options as both commands take them (`parseClientFiltersOrReply` in Valkey's networking.c). `None`: one of
    /// them is not known here.
    pub(super) fn parse(options: &[&[u8]], skip_me: bool) -> Option<Filter> {
        let mut filter = Filter {
            skip_me,
            ..Filter::default()
        };
        let mut rest = options;
        while let [option, value, after @ ..] = rest {
            rest = after;
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    filter.ids.push(number(value)?);
                    while let [more, after @ ..] = rest
                        && let Some(id) = number(more)
                    {
                        filter.ids.push(id);
                        rest = after;
                    }
                }
                b"type" => {
                    filter.kind = Some(match value.to_ascii_lowercase().as_slice() {
                        b"normal" => Kind::Normal,
                        b"pubsub" => Kind::PubSub,
                        b"master" | b"primary" | b"replica" | b"slave" => Kind::Replication,
                        _ => return None,
                    });
                }
                b"user" => filter.user = Some(value.to_vec()),
                b"addr" => filter.address = Some(value.to_vec()),
                b"laddr" => filter.local_address = Some(value.to_vec()),
                b"skipme" => filter.skip_me = value.eq_ignore_ascii_case(b"yes"),
                b"maxage" => filter.age = number(value)?,
                _ => return None,
            }
        }
        rest.is_empty().then_some(filter)
    }

    /// The clients found on all workers, in the order in which they are listed: the oldest first, or `as_asked`, the
    /// order of the ids that were asked for, an id as often as it was given (`clientCommand` in Redis's networking.c).
    pub(super) fn listed<'a>(&self, found: &'a mut [Seen], as_asked: bool) -> Vec<&'a Seen> {
        found.sort_by_key(|seen| seen.id);
        let found: &[Seen] = found;
        if !as_asked || self.ids.is_empty() || self.ids.len() > MOST_AS_ASKED {
            return found.iter().collect();
        }
        let place = |id: &u64| found.binary_search_by_key(id, |seen| seen.id).ok();
        self.ids.iter().filter_map(place).map(|at| &found[at]).collect()
    }

    /// Whether a client is meant, when the one with that id asks.
    pub(super) fn matches(&self, seen: &Seen, asker: u64) -> bool {
        let same =
            |wanted: &Option<Vec<u8>>, found: &[u8]| wanted.as_ref().is_none_or(|wanted| wanted == found);
        (self.ids.is_empty() || self.ids.contains(&seen.id))
            && self
                .kind
                .is_none_or(|kind| kind == if seen.pubsub { Kind::PubSub } else { Kind::Normal })
            && same(&self.user, &seen.user)
            && same(&self.address, seen.address.as_bytes())
            && same(&self.local_address, seen.local_address.as_bytes())
            && seen.age >= self.age
            && !(self.skip_me && seen.id == asker)
    }
}

/// A number as Redis writes it: no sign, no zeros in front.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.iter().all(u8::is_ascii_digit) && (digits.len() == 1 || !digits.starts_with(b"0"));
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_listed_as_they_were_asked_for() {
        let seen = |id| Seen {
            id,
            ..Seen::default()
        };
        let mut found = [seen(9), seen(7), seen(8)];
        let words: Vec<&[u8]> = vec![b"ID", b"8", b"7", b"6", b"8"];
        let filter = Filter::parse(&words, false).expect("ids");
        let mut ids = |filter: &Filter, as_asked| -> Vec<u64> {
            let listed = filter.listed(&mut found, as_asked);
            listed.iter().map(|seen| seen.id).collect()
        };
        assert_eq!(ids(&filter, true), [8, 7, 8]);
        assert_eq!(ids(&filter, false), [7, 8, 9]);
        assert_eq!(ids(&Filter::default(), true), [7, 8, 9]);
    }

    #[test]
    fn everything_given_has_to_match() {
        let seen = Seen {
            id: 7,
            address: "127.0.0.1:5".to_owned(),
            user: b"default".to_vec(),
            age: 10,
            ..Seen::default()
        };
        for (options, skip_me, expected) in [
            ("", false, Some(true)),
            ("", true, Some(false)),
            ("ID 7", true, Some(false)),
            ("id 7 skipme no", true, Some(true)),
            ("ID 6 7 TYPE normal", false, Some(true)),
            ("ID 6 TYPE normal", false, Some(false)),
            ("TYPE pubsub", false, Some(false)),
            ("TYPE replica", false, Some(false)),
            ("USER default ADDR 127.0.0.1:5", false, Some(true)),
            ("USER other", false, Some(false)),
            ("LADDR 127.0.0.1:5", false, Some(false)),
            ("MAXAGE 10", false, Some(true)),
            ("MAXAGE 11", false, Some(false)),
            ("FLAGS N", false, None),
            ("ID x", false, None),
            ("ID 7 TYPE", false, None),
        ] {
            let words: Vec<&[u8]> = options.split_whitespace().map(str::as_bytes).collect();
            let found = Filter::parse(&words, skip_me).map(|filter| filter.matches(&seen, 7));
            assert_eq!(found, expected, "{options} {skip_me}");
        }
    }
}
