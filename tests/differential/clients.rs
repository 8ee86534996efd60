//! Programs that look at other connections, or end them.

use crate::generator::words;
use crate::program::Step;
use crate::random::Random;

/// What one connection asks about those of the program.
pub(crate) fn step(random: &mut Random, number: usize, count: usize) -> Step {
    let lines = random.pick(&[
        &["CLIENT LIST ID @id"][..],
        &["CLIENT LIST ID @id", "CLIENT LIST ID @id @id @id"],
        &[
            "CLIENT LIST ID @id x",
            "CLIENT LIST ID",
            "CLIENT LIST TYPE nosuch",
            "CLIENT LIST x",
        ],
        &["CLIENT INFO"],
        &["CLIENT INFO", "CLIENT INFO x"],
        &["SELECT 1", "CLIENT INFO", "SELECT 0", "CLIENT INFO"],
        &[
            "CLIENT SETINFO LIB-NAME some",
            "CLIENT SETNAME one",
            "CLIENT INFO",
        ],
        &["CLIENT KILL ID @id"],
        &["CLIENT KILL ID @id SKIPME no", "PING"],
        // Not of a user that somebody may be: see open/.
        &["CLIENT KILL USER nosuch", "CLIENT KILL USER nobody x"],
        &[
            "CLIENT KILL 1.1.1.1:1",
            "CLIENT KILL ID x",
            "CLIENT KILL x y",
            "CLIENT KILL TYPE nosuch",
            "CLIENT KILL",
        ],
        &[
            "CLIENT UNBLOCK @id",
            "CLIENT UNBLOCK @id ERROR",
            "CLIENT UNBLOCK @id x",
            "CLIENT UNBLOCK x",
        ],
        &[
            "CLIENT GETREDIR",
            "CLIENT TRACKINGINFO",
            "CLIENT CACHING YES",
            "CLIENT TRACKING OFF",
        ],
        &[
            "CLIENT SETINFO x y",
            "CLIENT SETINFO LIB-NAME",
            "CLIENT HELP",
            "CLIENT UNPAUSE",
            "CLIENT PAUSE x",
        ],
        &[
            "CLIENT ID x",
            "CLIENT GETNAME x",
            "CLIENT CAPA redirect",
            "CLIENT CAPA",
        ],
    ]);
    // In a transaction, and after subscriptions and the like, these are refused or about other connections: the README
    // says so.
    let begin = [
        "RESET",
        random.pick(&["PING", "HELLO 3", "AUTH narrow narrowpass", "SELECT 2"]),
    ]
    .map(words);
    let commands = lines.iter().map(|line| {
        let mut words = words(line);
        for word in words.iter_mut().filter(|word| *word == b"@id") {
            *word = format!("@id{}", 1 + random.below(count)).into_bytes();
        }
        words
    });
    Step::Send(number, begin.into_iter().chain(commands).collect())
}
