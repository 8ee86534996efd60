//! What is asked: the workloads by name, the bytes of their requests and the exact replies that they must get.
//!
//! Every key has a value of its own, so a reply that belongs to another request is noticed.

/// Keys of 64-byte values: enough that neighbours differ, few enough that they stay in the caches.
const SMALL_KEYS: usize = 1000;
/// Keys of 16 KiB values: the generator compares every byte, so their sum must stay small.
const LARGE_KEYS: usize = 16;
const SMALL: usize = 64;
const LARGE: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Get,
    Set,
    /// Ten GETs, then a SET.
    Mix,
}

/// One pattern of load: closed loop, so many clients, each with so many requests on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) asks: Asks,
    pub(crate) clients: usize,
    pub(crate) pipeline: usize,
    pub(crate) large: bool,
}

const fn small(
    name: &'static str,
    title: &'static str,
    asks: Asks,
    clients: usize,
    pipeline: usize,
) -> Workload {
    Workload {
        name,
        title,
        asks,
        clients,
        pipeline,
        large: false,
    }
}

pub(crate) const WORKLOADS: [Workload; 8] = [
    small("get50", "GET 64 B, 50 clients", Asks::Get, 50, 1),
    small("set50", "SET 64 B, 50 clients", Asks::Set, 50, 1),
    small("mix50", "10 GET : 1 SET 64 B, 50 clients", Asks::Mix, 50, 1),
    small("get50p16", "GET 64 B, 50 clients, pipeline 16", Asks::Get, 50, 16),
    small("set50p16", "SET 64 B, 50 clients, pipeline 16", Asks::Set, 50, 16),
    Workload {
        name: "get16k",
        title: "GET 16 KiB, 50 clients",
        asks: Asks::Get,
        clients: 50,
        pipeline: 1,
        large: true,
    },
    small("get500", "GET 64 B, 500 clients", Asks::Get, 500, 1),
    small("get1", "GET 64 B, 1 client", Asks::Get, 1, 1),
];

impl Workload {
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        WORKLOADS.into_iter().find(|workload| workload.name == name)
    }

    /// Whether request number `number` of a client is a SET.
    pub(crate) fn sets(&self, number: u64) -> bool {
        match self.asks {
            Asks::Get => false,
            Asks::Set => true,
            Asks::Mix => number % 11 == 10,
        }
    }

    pub(crate) fn keys(&self) -> Keys {
        if self.large {
            Keys::new("large", LARGE_KEYS, LARGE)
        } else {
            Keys::new("small", SMALL_KEYS, SMALL)
        }
    }
}

/// The requests for each key and the replies that they must get.
pub(crate) struct Keys {
    entries: Vec<Entry>,
}

struct Entry {
    get: Vec<u8>,
    set: Vec<u8>,
    value_reply: Vec<u8>,
}

/// The reply to every SET.
const STORED: &[u8] = b"+OK\r\n";

impl Keys {
    fn new(prefix: &str, count: usize, size: usize) -> Self {
        let entries = (0..count)
            .map(|index| {
                let key = format!("{prefix}:{index:08}");
                let mut value = format!("{index:08}");
                value.extend(std::iter::repeat_n('x', size - value.len()));
                Entry {
                    get: command(&["GET", &key]),
                    set: command(&["SET", &key, &value]),
                    value_reply: format!("${size}\r\n{value}\r\n").into_bytes(),
                }
            })
            .collect();
        Self { entries }
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn request(&self, key: usize, set: bool) -> &[u8] {
        let entry = &self.entries[key];
        if set { &entry.set } else { &entry.get }
    }

    pub(crate) fn reply(&self, key: usize, set: bool) -> &[u8] {
        if set {
            STORED
        } else {
            &self.entries[key].value_reply
        }
    }
}

/// `words` as a RESP array of bulk strings.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulks() {
        assert_eq!(command(&["GET", "ab"]), b"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n");
    }

    #[test]
    fn every_key_has_a_value_of_its_own_and_of_the_right_size() {
        let keys = WORKLOADS[0].keys();
        let reply = keys.reply(7, false);
        assert!(reply.starts_with(b"$64\r\n00000007xx") && reply.ends_with(b"x\r\n"));
        assert_eq!(reply.len(), 5 + 64 + 2);
        assert_ne!(reply, keys.reply(8, false));
    }

    #[test]
    fn the_mix_is_ten_to_one() {
        let mix = Workload::by_name("mix50").unwrap();
        assert_eq!((0..1100).filter(|&number| mix.sets(number)).count(), 100);
    }
}
