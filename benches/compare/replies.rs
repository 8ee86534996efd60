//! The replies that one client is owed, compared byte by byte as they come, however they are cut.

use super::workload::Keys;

/// The requests of one batch, oldest first, and how far their replies have come.
pub(crate) struct Replies {
    /// The key, and whether it was a SET.
    owed: Vec<(usize, bool)>,
    answered: usize,
    /// Bytes of the next reply that have come.
    matched: usize,
}

impl Replies {
    pub(crate) fn with_capacity(pipeline: usize) -> Self {
        Self {
            owed: Vec::with_capacity(pipeline),
            answered: 0,
            matched: 0,
        }
    }

    pub(crate) fn owe(&mut self, key: usize, set: bool) {
        self.owed.push((key, set));
    }

    pub(crate) fn are_complete(&self) -> bool {
        self.answered == self.owed.len()
    }

    /// Forgets a complete batch; how many replies it had.
    pub(crate) fn clear(&mut self) -> u64 {
        let count = self.answered as u64;
        self.owed.clear();
        self.answered = 0;
        count
    }

    /// Counts the replies in `bytes`; an error at the first byte that is not the one expected.
    pub(crate) fn compare(&mut self, keys: &Keys, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let Some(&(key, set)) = self.owed.get(self.answered) else {
                return Err(format!("a reply that nobody asked for: {}", beginning(bytes)));
            };
            let expected = &keys.reply(key, set)[self.matched..];
            let length = expected.len().min(bytes.len());
            if bytes[..length] != expected[..length] {
                let (got, wanted) = (beginning(bytes), beginning(expected));
                return Err(format!("wrong reply for key {key}: got {got}, expected {wanted}"));
            }
            bytes = &bytes[length..];
            self.matched += length;
            if length == expected.len() {
                self.matched = 0;
                self.answered += 1;
            }
        }
        Ok(())
    }
}

fn beginning(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]))
}

#[cfg(test)]
mod tests {
    use super::super::workload::Workload;
    use super::*;

    /// GET of key 1, SET of key 2, GET of key 3; and the bytes that answer them.
    fn batch(keys: &Keys) -> (Replies, Vec<u8>) {
        let mut replies = Replies::with_capacity(3);
        let asked = [(1, false), (2, true), (3, false)];
        for (key, set) in asked {
            replies.owe(key, set);
        }
        let bytes = asked
            .iter()
            .flat_map(|&(key, set)| keys.reply(key, set).to_vec())
            .collect();
        (replies, bytes)
    }

    #[test]
    fn a_batch_is_complete_with_its_last_byte_wherever_it_is_cut() {
        let keys = Workload::by_name("mix50").unwrap().keys();
        let (_, bytes) = batch(&keys);
        for cut in 1..bytes.len() {
            let (mut replies, _) = batch(&keys);
            replies.compare(&keys, &bytes[..cut]).unwrap();
            assert!(
                !replies.are_complete(),
                "complete after {cut} of {} bytes",
                bytes.len()
            );
            replies.compare(&keys, &bytes[cut..]).unwrap();
            assert!(replies.are_complete());
            assert_eq!(replies.clear(), 3);
        }
    }

    #[test]
    fn any_wrong_byte_is_an_error() {
        let keys = Workload::by_name("mix50").unwrap().keys();
        let (_, bytes) = batch(&keys);
        for index in 0..bytes.len() {
            let (mut replies, mut bytes) = batch(&keys);
            bytes[index] ^= 1;
            assert!(
                replies.compare(&keys, &bytes).is_err(),
                "byte {index} was not compared"
            );
        }
    }

    #[test]
    fn errors_other_requests_replies_and_replies_to_nobody_are_errors() {
        let keys = Workload::by_name("mix50").unwrap().keys();
        let (mut replies, bytes) = batch(&keys);
        assert!(replies.compare(&keys, b"-ERR no\r\n").is_err());
        let (mut swapped, _) = batch(&keys);
        assert!(swapped.compare(&keys, keys.reply(3, false)).is_err());
        let (mut complete, _) = batch(&keys);
        complete.compare(&keys, &bytes).unwrap();
        assert!(complete.compare(&keys, b"+OK\r\n").is_err());
    }
}
