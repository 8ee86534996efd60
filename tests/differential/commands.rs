//! Random commands of all data types: templates whose placeholders are filled in.
//!
//! `{s}` is the key of a string, `{l}` list, `{h}` hash, `{t}` set, `{z}` sorted set, `{x}` stream, `{b}` bitmap,
//! `{p}` hyperloglog, `{g}` geo, `{k}` any key; `{v}` a value, `{n}` a number, `{i}` an index, `{f}` a field,
//! `{m}` a member, `{d}` a score, `{o}` a bit's offset, `{id}` a stream's id, `{ttl}` far away, `{lon}`, `{lat}`.
//! Templates stand between bars. A server that does not know a command says so, which is compared like any other reply.

use std::sync::LazyLock;

use crate::allowed::NOT_GENERATED;
use crate::program::Words;
use crate::random::Random;

const STRINGS: &str = "
    SET {s} {v} | SET {s} {v} EX {ttl} | SET {s} {v} NX | SET {s} {v} XX GET | SET {s} {n}
    SET {s} {v} KEEPTTL | GET {s} | GET {s} | GETDEL {s} | GETEX {s} EX {ttl} | GETEX {s} PERSIST
    GETSET {s} {v} | GETRANGE {s} {i} {i} | SETRANGE {s} {n} {v} | STRLEN {s} | APPEND {s} {v}
    INCR {s} | DECR {s} | INCRBY {s} {n} | DECRBY {s} {n} | INCRBYFLOAT {s} {d} | MSET {s} {v} {s} {v}
    MSETNX {s} {v} {s} {v} | MGET {s} {k} {s} | SETNX {s} {v} | SETEX {s} {ttl} {v}
    PSETEX {s} {ttl}000 {v} | SUBSTR {s} {i} {i} | LCS {s} {s} | LCS {s} {s} IDX WITHMATCHLEN
    SET {s} {v} EX 0 | SET {s} {v} FOO";

const LISTS: &str = "
    LPUSH {l} {v} {v} | RPUSH {l} {v} | RPUSH {l} {n} {n} {n} | LPUSHX {l} {v} | RPUSHX {l} {v}
    LPOP {l} | RPOP {l} | LPOP {l} {n} | LLEN {l} | LINDEX {l} {i} | LSET {l} {i} {v}
    LRANGE {l} {i} {i} | LRANGE {l} 0 -1 | LTRIM {l} {i} {i} | LREM {l} {i} {v}
    LINSERT {l} BEFORE {v} {v} | LPOS {l} {v} | LPOS {l} {v} RANK {i} COUNT 0 | LMOVE {l} {l} LEFT RIGHT
    RPOPLPUSH {l} {l} | LMPOP 2 {l} {l} LEFT COUNT 2 | SORT {l} ALPHA | SORT {l}
    SORT_RO {l} ALPHA DESC LIMIT 0 3 | SORT {l} ALPHA STORE {l} | SORT {l} ALPHA GET # GET s*";

const HASHES: &str = "
    HSET {h} {f} {v} | HSET {h} {f} {n} {f} {v} | HSETNX {h} {f} {v} | HGET {h} {f} | HMGET {h} {f} {f}
    HMSET {h} {f} {v} | HGETALL {h} | HKEYS {h} | HVALS {h} | HLEN {h} | HDEL {h} {f} {f}
    HEXISTS {h} {f} | HINCRBY {h} {f} {n} | HINCRBYFLOAT {h} {f} {d} | HSTRLEN {h} {f}
    HRANDFIELD {h} 2 | HRANDFIELD {h} | HEXPIRE {h} {ttl} FIELDS 1 {f} | HTTL {h} FIELDS 1 {f}
    HPERSIST {h} FIELDS 1 {f} | HGETDEL {h} FIELDS 1 {f} | HGETEX {h} EX {ttl} FIELDS 1 {f}
    HSETEX {h} EX {ttl} FIELDS 1 {f} {v}";

const SETS: &str = "
    SADD {t} {m} {m} | SADD {t} {n} {n} {n} | SREM {t} {m} | SMEMBERS {t} | SISMEMBER {t} {m}
    SMISMEMBER {t} {m} {m} | SCARD {t} | SPOP {t} 100000 | SRANDMEMBER {t} | SRANDMEMBER {t} -3
    SMOVE {t} {t} {m} | SINTER {t} {t} | SUNION {t} {t} | SDIFF {t} {t} | SINTERCARD 2 {t} {t} LIMIT {n}
    SINTERSTORE {t} {t} {t} | SUNIONSTORE {t} {t} {t} | SDIFFSTORE {t} {t} {t} | SORT {t} ALPHA
    SORT_RO {t} ALPHA LIMIT 1 2";

const SORTED_SETS: &str = "
    ZADD {z} {d} {m} | ZADD {z} {d} {m} {d} {m} | ZADD {z} NX CH {d} {m} | ZADD {z} GT {d} {m}
    ZADD {z} INCR {d} {m} | ZINCRBY {z} {d} {m} | ZREM {z} {m} | ZCARD {z} | ZSCORE {z} {m}
    ZMSCORE {z} {m} {m} | ZRANK {z} {m} | ZRANK {z} {m} WITHSCORE | ZREVRANK {z} {m} | ZRANGE {z} 0 -1
    ZRANGE {z} {i} {i} WITHSCORES | ZRANGE {z} (1 +inf BYSCORE LIMIT 0 3 | ZRANGE {z} - + BYLEX
    ZREVRANGE {z} 0 -1 WITHSCORES | ZRANGEBYSCORE {z} -inf {d} WITHSCORES
    ZREVRANGEBYSCORE {z} +inf -inf | ZRANGEBYLEX {z} - [m | ZLEXCOUNT {z} - + | ZCOUNT {z} {d} +inf
    ZPOPMIN {z} | ZPOPMAX {z} 2 | ZMPOP 1 {z} MIN COUNT 2 | ZREMRANGEBYRANK {z} {i} {i}
    ZREMRANGEBYSCORE {z} {d} {d} | ZUNION 2 {z} {z} WITHSCORES | ZINTER 2 {z} {z}
    ZDIFF 2 {z} {z} WITHSCORES | ZUNIONSTORE {z} 2 {z} {z} WEIGHTS 2 1
    ZINTERSTORE {z} 2 {z} {z} AGGREGATE MAX | ZDIFFSTORE {z} 2 {z} {z} | ZINTERCARD 2 {z} {z}
    ZRANGESTORE {z} {z} 0 -1 | ZRANDMEMBER {z} | ZUNION 2 {z} {t}";

const STREAMS: &str = "
    XADD {x} {id} {f} {v} | XADD {x} {id} {f} {v} | XADD {x} MAXLEN 3 {id} {f} {v}
    XADD {x} NOMKSTREAM {id} {f} {v} | XLEN {x} | XRANGE {x} - + | XRANGE {x} {id} + COUNT 2
    XREVRANGE {x} + - | XDEL {x} {id} | XTRIM {x} MAXLEN 2 | XTRIM {x} MINID {id}
    XREAD COUNT 2 STREAMS {x} {x} {id} 0 | XREAD STREAMS {x} $ | XGROUP CREATE {x} group 0
    XGROUP CREATE {x} group $ MKSTREAM | XGROUP CREATECONSUMER {x} group one | XGROUP SETID {x} group 0
    XGROUP DELCONSUMER {x} group two | XGROUP DESTROY {x} group
    XREADGROUP GROUP group one COUNT 2 STREAMS {x} > | XREADGROUP GROUP group two STREAMS {x} 0
    XACK {x} group {id} | XPENDING {x} group | XCLAIM {x} group two 0 {id}
    XAUTOCLAIM {x} group one 0 0 | XINFO STREAM {x} | XINFO GROUPS {x} | XSETID {x} 99-9";

const OTHERS: &str = "
    SETBIT {b} {o} 1 | GETBIT {b} {o} | BITCOUNT {b} | BITCOUNT {b} {i} {i} BIT | BITPOS {b} 1
    BITPOS {b} 0 {i} | BITOP AND {b} {b} {s} | BITOP NOT {b} {b}
    BITFIELD {b} SET u8 0 {n} INCRBY i5 {o} 3 | BITFIELD {b} GET u4 {o} | BITFIELD_RO {b} GET i8 0
    PFADD {p} {v} {m} | PFCOUNT {p} | PFCOUNT {p} {p} | PFMERGE {p} {p} {p} | GEOADD {g} {lon} {lat} {m}
    GEOADD {g} CH {lon} {lat} {m} | GEOPOS {g} {m} {m} | GEODIST {g} {m} {m} km | GEOHASH {g} {m}
    GEOSEARCH {g} FROMLONLAT {lon} {lat} BYRADIUS 5000 km ASC WITHDIST
    GEOSEARCH {g} FROMMEMBER {m} BYBOX 900 900 km ASC WITHCOORD
    GEOSEARCHSTORE {g} {g} FROMLONLAT {lon} {lat} BYRADIUS 900 km | GEORADIUS {g} {lon} {lat} 800 km ASC
    GEORADIUS_RO {g} {lon} {lat} 800 km DESC | GEORADIUSBYMEMBER {g} {m} 900 km ASC STORE {z}";

const GENERIC: &str = "
    DEL {k} | DEL {k} {k} | UNLINK {k} | EXISTS {k} {k} | TYPE {k} | OBJECT ENCODING {k}
    OBJECT REFCOUNT {k} | OBJECT HELP | EXPIRE {k} {ttl} | EXPIRE {k} {ttl} NX | EXPIREAT {k} 9999999999
    PEXPIRE {k} {ttl}000 | EXPIRE {k} -1 | TTL {k} | PTTL {k} | EXPIRETIME {k} | PEXPIRETIME {k}
    PERSIST {k} | RENAME {k} {k} | RENAMENX {k} {k} | COPY {k} {k} | COPY {k} {k} REPLACE
    COPY {k} {k} DB 1 | MOVE {k} 1 | KEYS * | KEYS s* | DBSIZE | RANDOMKEY | TOUCH {k} {k} | FLUSHDB
    SWAPDB 0 1 | DUMP {s} | RESTORE {k} 0 junk | ECHO {v} | PING | PING {v} | COMMAND COUNT
    COMMAND GETKEYS GET {k} | TIME | NOSUCH {k} {v} | GET | SET {s} | OBJECT NOSUCH {k}
    CONFIG GET maxmemory | CONFIG NOSUCH | ACL WHOAMI | ACL CAT nosuch | SORT {k} BY x* LIMIT 0 1 GET
    MEMORY USAGE {k} | LOLWUT VERSION x | PUBLISH news {v} | PUBSUB NUMSUB news | PUBSUB NUMPAT
    SCRIPT EXISTS ffff | CLIENT ID | SHUTDOWN NOSUCH | FUNCTION LIST | WAIT 0 0 | WAIT x 0 | WAIT 0
    WAITAOF 0 0 0 | WAITAOF 1 0 0 | WAITAOF x 0 0 | INFO | INFO replication | INFO nosuch | INFO keyspace server
    OBJECT FREQ {k} | OBJECT IDLETIME {k} | OBJECT ENCODING nokey | PUBSUB CHANNELS | PUBSUB SHARDCHANNELS
    PUBSUB SHARDNUMSUB shard | SPUBLISH shard {v} | PUBSUB NOSUCH | LCS {s} {s} LEN | ACL USERS | ACL GETUSER narrow
    ACL DRYRUN reader GET {s} | ACL DRYRUN reader SET {s} {v} | ACL DRYRUN nosuch GET {s} | ACL GETUSER nosuch";

const FORMS: &str = "
    ZRANGESTORE {z} {z} 0 -1 | ZADD {z} XX CH {d} {m} | ZADD {z} NX XX {d} {m} | ZRANGE {z} 0 -1 REV WITHSCORES
    GETEX {s} | GETEX {s} EXAT 9999999999 | GETEX {s} NOSUCH | SET {s} {v} GET | SET {s} {v} PXAT 9999999999999
    EXPIRE {k} {ttl} GT | EXPIRE {k} {ttl} XX | EXPIRE {k} {ttl} NX XX | XCLAIM {x} group two 0 {id} JUSTID
    XAUTOCLAIM {x} group one 0 0 JUSTID | BITFIELD {b} OVERFLOW FAIL INCRBY u2 {o} 1 | BITFIELD {b}
    GEOSEARCH {g} FROMLONLAT {lon} {lat} BYRADIUS 900 km ASC WITHHASH | GEORADIUS {g} {lon} {lat} 90 km STORE {g}
    GEORADIUS {g} {lon} {lat} 900 km ASC COUNT 1 | COMMAND GETKEYSANDFLAGS SET {k} {v} | COMMAND INFO get nosuch
    COMMAND GETKEYS NOSUCH | FUNCTION LIST WITHCODE | FUNCTION STATS | CONFIG GET maxmem* | CONFIG SET nosuch 1
    CONFIG RESETSTAT | SLOWLOG RESET | LASTSAVE | HRANDFIELD {h} 2 WITHVALUES | LPOS {l} {v} MAXLEN 2 RANK -1
    LMPOP 2 {l} {l} RIGHT | LMPOP 0 {l} LEFT | CLUSTER INFO | CLUSTER KEYSLOT {k} | CLUSTER NOSUCH | ASKING
    SORT {l} BY nosort DESC | SORT {h} | SORT_RO {l} BY w* GET # STORE {l} | SORT {l} STORE {l} ALPHA LIMIT 0 2
    OBJECT ENCODING | TYPE | EXISTS | COPY {k} {k} DB x | MOVE {k} x | RENAME nokey {k} | DUMP nokey | EVAL | EVALSHA x 0
    FCALL nosuch 0 | FCALL_RO nosuch 0 | SCRIPT NOSUCH | SCRIPT LOAD | ACL SETUSER narrow nosuchrule | ACL NOSUCH
    ACL CAT scripting | LATENCY NOSUCH | MEMORY NOSUCH | XGROUP NOSUCH | XINFO NOSUCH {x} | SETRANGE {s} -1 v
    MSET {s} | MSETNX {s} {v} {s} | BITOP NOSUCH {b} {b} | BITOP XOR {b} {b} {b} | PFADD {p} | PFMERGE {p} | LINSERT {l} X a b
    ZUNION 2 {z} {z} AGGREGATE MIN WITHSCORES | ZINTER 0 {z} | SINTERCARD 0 {t} | UNWATCH x | EXEC x | DISCARD x";

/// Every family of commands, a template in each.
static FAMILIES: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| {
    let families = [
        STRINGS,
        LISTS,
        HASHES,
        SETS,
        SORTED_SETS,
        STREAMS,
        OTHERS,
        GENERIC,
        FORMS,
    ];
    let templates = |family: &'static str| {
        family
            .split(['|', '\n'])
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    families.map(|family| templates(family).collect()).into()
});

const KINDS: &[u8] = b"slhtzxbpg";

/// A random command; now and then malformed.
pub(crate) fn command(random: &mut Random) -> Words {
    loop {
        let family = &FAMILIES[random.below(FAMILIES.len())];
        let template = random.pick(family);
        let mut words = fill(random, template);
        // With an argument less SPOP draws at random, and the two sides go different ways; COMMAND lists them all.
        if random.chance(3) && words[0] != b"SPOP" && words[0] != b"COMMAND" {
            match random.below(4) {
                0 => words.truncate(words.len().max(2) - 1),
                1 => words.push(b"extra".to_vec()),
                2 => words[0] = b"NoSuchCommand".to_vec(),
                _ => words[0].make_ascii_lowercase(),
            }
        }
        let name = words[0].to_ascii_lowercase();
        if !NOT_GENERATED.iter().any(|(word, _)| word.as_bytes() == name) {
            return words;
        }
    }
}

/// A template with everything in braces replaced.
pub(crate) fn fill(random: &mut Random, template: &str) -> Words {
    template.split(' ').map(|word| fill_word(random, word)).collect()
}

fn fill_word(random: &mut Random, word: &str) -> Vec<u8> {
    let Some((before, rest)) = word.split_once('{') else {
        return word.as_bytes().to_vec();
    };
    let (name, after) = rest.split_once('}').expect("a template closes its braces");
    [before.as_bytes(), &value(random, name), after.as_bytes()].concat()
}

fn value(random: &mut Random, name: &str) -> Vec<u8> {
    match name {
        "k" => {
            let kind = random.pick(KINDS);
            key(random, kind)
        }
        "v" => text(random),
        "n" => number(random),
        "i" => (random.below(12) as i64 - 6).to_string().into_bytes(),
        "f" => format!("f{}", random.below(8)).into_bytes(),
        "m" => format!("m{}", random.below(10)).into_bytes(),
        "d" => random
            .pick(&[
                "1",
                "2.5",
                "-3",
                "0.1",
                "1e3",
                "7",
                "-inf",
                "3.0000001",
                "17179869184",
            ])
            .as_bytes()
            .to_vec(),
        "o" => random.pick(&["0", "7", "8", "100", "1000"]).as_bytes().to_vec(),
        "id" => format!("{}-{}", random.below(9) + 1, random.below(3)).into_bytes(),
        "ttl" => (random.below(5000) + 1000).to_string().into_bytes(),
        "lon" => format!("{}.{}", random.below(60), random.below(99)).into_bytes(),
        "lat" => format!("{}.{}", random.below(50), random.below(99)).into_bytes(),
        kind => {
            // Now and then a key of another type.
            let kind = if random.chance(4) {
                random.pick(KINDS)
            } else {
                kind.as_bytes()[0]
            };
            key(random, kind)
        }
    }
}

fn key(random: &mut Random, kind: u8) -> Vec<u8> {
    vec![kind, b'1' + random.below(3) as u8]
}

fn number(random: &mut Random) -> Vec<u8> {
    let special: &[&str] = &["0", "-1", "9223372036854775807", "12345", "x", "1.5"];
    if random.chance(8) {
        random.pick(special).as_bytes().to_vec()
    } else {
        random.below(20).to_string().into_bytes()
    }
}

fn text(random: &mut Random) -> Vec<u8> {
    match random.below(60) {
        0 => Vec::new(),
        1 => b"\r\n$3\r\n\0\xff|\"".to_vec(),
        2 => vec![b'a' + random.below(20) as u8; 65],
        3 => vec![b'b'; 600],
        4 if random.chance(30) => vec![b'c'; 5_000 + random.below(60_000)],
        5..30 => random.below(30).to_string().into_bytes(),
        _ => format!("v{}", random.below(12)).into_bytes(),
    }
}
