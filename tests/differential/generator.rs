//! Random programs: what several clients of one server might do in turn.

use crate::clients;
use crate::commands::{command, fill};
use crate::listeners::{self, Listening};
use crate::program::{Program, Step, Words};
use crate::races;
use crate::random::Random;

/// Scripts of each kind; the last ones fail.
const SCRIPTS: &[&str] = &[
    "return 1",
    "return redis.call('SET', KEYS[1], ARGV[1])",
    "return redis.call('GET', KEYS[1])",
    "return {1, 'two', {3, false}, redis.status_reply('FINE')}",
    "redis.setresp(3) return redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')",
    "return redis.pcall('INCR', KEYS[1])",
    "return redis.call('INCR', KEYS[1])",
    "return redis.error_reply('MY error')",
    "return nosuch",
    "return (",
    "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])",
    "#!lua flags=no-writes\nreturn redis.call('SET', KEYS[1], ARGV[1])",
    "#!lua\nreturn redis.call('GET', KEYS[1])",
    "#!lua flags=nosuch\nreturn 1",
];

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('fset', function(k, a) return redis.call('SET', k[1], a[1]) end)\n\
    redis.register_function{function_name='fget', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}";

/// A program from a seed.
pub(crate) fn program(seed: u64) -> Program {
    let mut random = Random::new(seed);
    let random = &mut random;
    let count = 2 + random.below(3);
    let mut steps = Vec::new();
    let mut listening = vec![Listening::No; count];
    for number in 1..=count {
        if random.chance(50) {
            steps.push(send(number, &["HELLO 3"]));
        }
    }
    for _ in 0..(15 + random.below(35)) {
        let at = random.below(count);
        let number = at + 1;
        let other = 1 + (at + 1) % count;
        if listening[at] != Listening::No {
            listening[at] = listeners::step(random, listening[at], number, other, &mut steps);
            continue;
        }
        match random.below(100) {
            0..12 => steps.push(Step::Send(number, vec![command(random)])),
            12..62 => steps.push(pipeline(random, number)),
            62..70 => transaction(random, number, other, &mut steps),
            70..78 => steps.push(Step::Send(number, scripts(random))),
            78..83 => blocking(random, number, count + 1, &mut steps),
            83..90 => session(random, number, &mut steps),
            90..94 => iteration(random, number, &mut steps),
            94..96 => steps.push(clients::step(random, number, count)),
            96..98 => listening[at] = listeners::begin(random, number, other, &mut steps),
            _ => steps.push(inline(random, number)),
        }
    }
    if random.chance(30) {
        steps.push(send(1, &["QUIT"]));
    }
    races::without(Program {
        steps: races::merged(random, steps),
    })
}

pub(crate) fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

pub(crate) fn send(number: usize, commands: &[&str]) -> Step {
    Step::Send(number, commands.iter().map(|text| words(text)).collect())
}

fn pipeline(random: &mut Random, number: usize) -> Step {
    let length = 2 + random.below(29);
    Step::Send(number, (0..length).map(|_| command(random)).collect())
}

/// MULTI to EXEC in one write or several, with WATCH and a touch by another client, and errors while queuing.
fn transaction(random: &mut Random, number: usize, other: usize, steps: &mut Vec<Step>) {
    let mut commands: Vec<Words> = Vec::new();
    if random.chance(40) {
        steps.push(Step::Send(number, vec![fill(random, "WATCH {k} {k}")]));
        if random.chance(50) {
            steps.push(Step::Send(number, vec![fill(random, "GET {s}"), command(random)]));
        }
        if random.chance(50) {
            steps.push(Step::Send(
                other,
                vec![fill(random, "SET {s} {v}"), fill(random, "DEL {k}")],
            ));
        }
        if random.chance(15) {
            steps.push(send(number, &["UNWATCH"]));
        }
    }
    commands.push(words("MULTI"));
    for _ in 0..random.below(8) {
        let words_of_it = if random.chance(6) {
            words(random.pick(&[
                "MULTI",
                "WATCH a",
                "SUBSCRIBE",
                "GET",
                // Not CLIENT SETNAME and SETINFO: see open/.
                "CLIENT GETNAME",
                "SELECT 1",
                "BLPOP l1 0",
                "MONITOR",
                "WAIT 0 0",
                "RESET",
                "EVAL",
                "EVAL redis.call('PING') 0",
                "HELLO 3",
                "INFO server",
            ]))
        } else {
            command(random)
        };
        commands.push(words_of_it);
    }
    commands.push(words(if random.chance(85) { "EXEC" } else { "DISCARD" }));
    if random.chance(50) {
        steps.push(Step::Send(number, commands));
    } else {
        while !commands.is_empty() {
            let length = 1 + random.below(commands.len().min(3));
            steps.push(Step::Send(number, commands.drain(..length).collect()));
        }
    }
    if random.chance(20) {
        steps.push(send(number, &["EXEC"]));
    }
}

fn scripts(random: &mut Random) -> Vec<Words> {
    (0..=random.below(4))
        .map(|_| {
            let script = random.pick(SCRIPTS).as_bytes().to_vec();
            let rest = random.pick(&["1 {s} {v}", "1 {s} {v}", "1 {k} {v}", "1 {z} {v}", "0"]);
            let mut rest = fill(random, rest);
            let mut words = match random.below(10) {
                0..5 => vec![b"EVAL".to_vec(), script],
                5..7 => vec![b"EVAL_RO".to_vec(), script],
                7 => vec![b"SCRIPT".to_vec(), b"LOAD".to_vec(), script],
                8 => {
                    let template =
                        random.pick(&["FCALL fset", "FCALL_RO fget", "FCALL fget", "FCALL_RO fset"]);
                    fill(random, template)
                }
                _ => {
                    let template = random.pick(&[
                        // The digest of `return 1`.
                        "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
                        "EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
                        "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db ffff",
                        // And of the first script above that says that it does not write.
                        "EVALSHA d623bfea8e37744c1ffa709b62269c5db88a6bc0",
                        "EVALSHA_RO d623bfea8e37744c1ffa709b62269c5db88a6bc0",
                        "SCRIPT FLUSH",
                        "SCRIPT KILL",
                        "FUNCTION KILL",
                        "FUNCTION STATS",
                        "FUNCTION DUMP",
                        "FUNCTION RESTORE junk",
                        "FUNCTION LOAD REPLACE",
                        "FUNCTION DELETE lib",
                    ]);
                    fill(random, template)
                }
            };
            if words[0] == b"FUNCTION" && words[1] == b"LOAD" {
                words.push(LIBRARY.as_bytes().to_vec());
            } else if !matches!(words[0].as_slice(), b"SCRIPT" | b"FUNCTION") {
                words.append(&mut rest);
            }
            words
        })
        .collect()
}

/// A blocking command that another client's push, or its time-out, ends.
fn blocking(random: &mut Random, number: usize, other: usize, steps: &mut Vec<Step>) {
    let (blocked, release) = random.pick(&[
        ("BLPOP l1 l2 0.005", "RPUSH l1 {v} {v}"),
        ("BRPOP l1 0.005", "LPUSH l1 {v}"),
        ("BLMOVE l1 l2 LEFT RIGHT 0.005", "RPUSH l1 {v}"),
        ("BLMPOP 0.005 1 l1 LEFT COUNT 2", "RPUSH l1 {v} {v} {v}"),
        ("BZPOPMIN z1 z2 0.005", "ZADD z1 {d} {m}"),
        ("BZMPOP 0.005 1 z1 MAX", "ZADD z1 {d} {m}"),
        ("XREAD BLOCK 5 STREAMS x1 $", "XADD x1 500-{n} {f} {v}"),
        ("BRPOPLPUSH l1 l3 0.005", "RPUSH l1 {v}"),
        ("BZPOPMAX z2 z1 0.005", "ZADD z1 {d} {m} {d} {m}"),
        (
            "XREADGROUP GROUP group one BLOCK 5 STREAMS x1 >",
            "XADD x1 500-{n} {f} {v}",
        ),
    ]);
    // With a release the time is long enough not to run out first; it comes from a client that does nothing else, so
    // that nothing keeps it from being one.
    let released = random.chance(60);
    let blocked = if released {
        blocked.replace("0.005", "3").replace("BLOCK 5 ", "BLOCK 3000 ")
    } else {
        blocked.to_owned()
    };
    if random.chance(70) {
        steps.push(send(number, &["SELECT 0", "DEL l1 l2 z1 z2"]));
    }
    let mut commands = vec![words(&blocked)];
    if random.chance(30) {
        commands.push(command(random));
    }
    steps.push(Step::Send(number, commands));
    if released {
        let unblock = format!("CLIENT UNBLOCK @id{number}");
        let first = match random.below(8) {
            0 => words(&unblock),
            1 => words(&format!("{unblock} ERROR")),
            _ => fill(random, release),
        };
        steps.push(Step::Send(other, vec![words("DEL l1 z1"), first]));
        if random.chance(50) {
            steps.push(Step::Send(other, vec![fill(random, release)]));
        }
    }
    steps.push(Step::Await(number));
}

fn session(random: &mut Random, number: usize, steps: &mut Vec<Step>) {
    let lines: &[&str] = random.pick(&[
        &["SELECT 1"][..],
        &["SELECT 0"],
        &["SELECT 0", "SELECT 99", "SELECT x"],
        &["CLIENT SETNAME name", "CLIENT GETNAME"],
        &["CLIENT GETNAME"],
        &["CLIENT SETNAME"],
        &["HELLO 2"],
        &["HELLO 3"],
        &["HELLO"],
        &["HELLO 4", "HELLO x", "HELLO 3 SETNAME both"],
        &["HELLO 3 AUTH default wrong"],
        &["RESET", "CLIENT GETNAME"],
        &["AUTH wrong", "PING"],
        &["AUTH nosuch wrong", "ACL WHOAMI"],
        &["AUTH reader readpass", "ACL WHOAMI"],
        &["AUTH narrow narrowpass", "ACL WHOAMI"],
        &["AUTH nobody nobodypass", "ACL WHOAMI"],
        &["HELLO 3 AUTH narrow narrowpass", "ACL WHOAMI"],
        &["AUTH default any", "ACL WHOAMI"],
        &["CLIENT REPLY OFF", "SET s1 silent", "GET s1", "CLIENT REPLY ON"],
        &["CLIENT REPLY SKIP", "SET s1 skipped", "GET s1"],
        &["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "GET s1", "GET s2"],
        &["CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO LIB-VER 1.2"],
        &[
            "CLIENT NO-TOUCH on",
            "CLIENT NO-TOUCH off",
            "CLIENT NO-TOUCH maybe",
        ],
        // As the default user: see open/ for the others.
        &["RESET", "CLIENT NO-EVICT on", "CLIENT NO-EVICT x"],
        &["MONITOR", "RESET"],
        &["MONITOR x"],
        &["CLIENT NOSUCH", "CLIENT REPLY MAYBE", "CLIENT"],
        &["READONLY", "READWRITE", "ASKING"],
        &["EXEC", "DISCARD", "UNWATCH"],
        &["UNSUBSCRIBE", "PING"],
    ]);
    steps.push(send(number, lines));
}

fn iteration(random: &mut Random, number: usize, steps: &mut Vec<Step>) {
    let (fill_with, count): (&str, usize) = (
        random.pick(&["HSET h1", "SADD t1", "ZADD z1", "MSET"]),
        50 + random.below(300),
    );
    let mut command = words(fill_with);
    for index in 0..count {
        match command[0].as_slice() {
            b"SADD" => command.push(format!("member{index}").into_bytes()),
            b"ZADD" => command.extend([
                index.to_string().into_bytes(),
                format!("member{index}").into_bytes(),
            ]),
            _ => command.extend([format!("s:{index}").into_bytes(), index.to_string().into_bytes()]),
        }
    }
    let scan = match command[0].as_slice() {
        b"HSET" => "HSCAN h1 0",
        b"SADD" => "SSCAN t1 0",
        b"ZADD" => "ZSCAN z1 0",
        _ => "SCAN 0",
    };
    let options = random.pick(&[
        "",
        " COUNT 7",
        " MATCH *1*",
        " COUNT 100 MATCH s*",
        " COUNT x",
        " NOVALUES",
    ]);
    steps.push(Step::Send(number, vec![command]));
    steps.push(Step::Scan(number, words(&format!("{scan}{options}"))));
}

fn inline(random: &mut Random, number: usize) -> Step {
    let text: &[u8] = random.pick(&[
        &b"PING\r\n"[..],
        b"SET s1 inline\r\nGET s1\r\n",
        b"SET s2 \"quo\\x41ted\"\nGET s2\n",
        b"\r\n\r\nPING\r\n",
        b"*0\r\nPING\r\n",
        b"*1\r\n$4\r\nPING\r\nPING\r\n",
        b"GET 'a b'\r\n",
    ]);
    Step::Raw(number, text.to_vec())
}
