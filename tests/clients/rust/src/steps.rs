//! What an application on blocking connections does, one step after the other, each on keys of its own.

use std::time::Duration;

use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{
    Client, Commands as _, Connection, ExistenceCheck, Pipeline, RedisResult, Script, SetExpiry, SetOptions,
    Value, cmd, pipe,
};

use crate::transcript::{Transcript, digest};

/// Runs every step; `second` is the same server with database 1.
pub fn run(client: &Client, second: &Client, out: &mut Transcript) -> RedisResult<()> {
    let connection = &mut client.get_connection()?;
    out.emit("connect.ping", ask(connection, "PING"));
    values(connection, out)?;
    collections(connection, out)?;
    expiry(connection, out)?;
    pipelines(connection, out)?;
    scripts(connection, out)?;
    scan(connection, out)?;
    streams(connection, out)?;
    databases(connection, second, out)?;
    binary_and_large(connection, out)?;
    errors(connection, out)
}

/// Sends a command written as one line and keeps the reply as it came.
pub fn ask(connection: &mut Connection, line: &str) -> RedisResult<Value> {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(connection)
}

pub fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

fn bulks(texts: &[&str]) -> Value {
    Value::Array(texts.iter().copied().map(bulk).collect())
}

fn values(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    out.emit("strings.set", ask(connection, "SET s:a one"));
    out.settle("strings.get", || ask(connection, "GET s:a"), bulk("one"));
    let only_new = SetOptions::default().conditional_set(ExistenceCheck::NX);
    out.emit(
        "strings.set_nx",
        connection.set_options::<_, _, Value>("s:a", "two", only_new),
    );
    out.emit("strings.getset", ask(connection, "SET s:a three GET"));
    out.emit("strings.append", ask(connection, "APPEND s:a !"));
    out.settle("strings.strlen", || ask(connection, "STRLEN s:a"), 6);
    connection.mset::<_, _, ()>(&[("s:b", "B"), ("s:c", "")])?;
    let wanted = Value::Array(vec![bulk("three!"), bulk("B"), bulk(""), Value::Nil]);
    out.settle(
        "strings.mget",
        || ask(connection, "MGET s:a s:b s:c s:none"),
        wanted,
    );
    out.emit("strings.del", ask(connection, "DEL s:a s:b s:c"));
    out.settle("strings.exists", || ask(connection, "EXISTS s:a s:b"), 0);
    out.emit(
        "counters.incr",
        (0..5).map(|_| ask(connection, "INCR c:n")).collect::<Vec<_>>(),
    );
    out.emit("counters.float", ask(connection, "INCRBYFLOAT c:f 10.5"));
    out.settle("counters.get", || ask(connection, "GET c:n"), bulk("5"));
    out.emit("connect.name", ask(connection, "CLIENT SETNAME orders"));
    out.emit("connect.getname", ask(connection, "CLIENT GETNAME"));
    Ok(())
}

fn collections(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    out.emit("hashes.hset", ask(connection, "HSET h:u name Ada age 36"));
    let all = |connection: &mut Connection| {
        let mut pairs: Vec<(String, String)> = connection.hgetall("h:u")?;
        pairs.sort();
        RedisResult::Ok(pairs)
    };
    out.settle(
        "hashes.hgetall",
        || all(connection),
        vec![("age", "36"), ("name", "Ada")],
    );
    out.emit("hashes.hset_one", ask(connection, "HSET h:one name Ada"));
    out.settle("hashes.there", || ask(connection, "HEXISTS h:one name"), 1);
    out.emit("lists.rpush", ask(connection, "RPUSH l:q a b c"));
    out.settle(
        "lists.lrange",
        || ask(connection, "LRANGE l:q 0 -1"),
        bulks(&["a", "b", "c"]),
    );
    out.emit("lists.lpop", ask(connection, "LPOP l:q 2"));
    out.settle("lists.llen", || ask(connection, "LLEN l:q"), 1);
    out.emit("sets.sadd", ask(connection, "SADD t:x a b c"));
    let members = |connection: &mut Connection| {
        let mut members: Vec<String> = connection.smembers("t:x")?;
        members.sort();
        RedisResult::Ok(members)
    };
    out.settle("sets.smembers", || members(connection), vec!["a", "b", "c"]);
    // A set of numbers keeps them in order, so it can be compared as it comes.
    out.emit("sets.numbers", ask(connection, "SADD t:n 3 1 2"));
    out.emit("zsets.zadd", ask(connection, "ZADD z:b 1.5 ann 2 bob"));
    out.emit("zsets.zincrby", ask(connection, "ZINCRBY z:b 10 ann"));
    out.settle(
        "zsets.zrange",
        || ask(connection, "ZRANGE z:b 0 -1"),
        bulks(&["bob", "ann"]),
    );
    // Shapes that differ between the two protocols, exactly as they come; the master answers inside MULTI.
    let mut shapes = pipe();
    shapes
        .atomic()
        .cmd("HGETALL")
        .arg("h:one")
        .cmd("SMEMBERS")
        .arg("t:n");
    shapes
        .cmd("ZRANGE")
        .arg("z:b")
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES")
        .cmd("ZSCORE")
        .arg("z:b")
        .arg("ann");
    shapes
        .cmd("ZSCORE")
        .arg("z:b")
        .arg("nobody")
        .cmd("CONFIG")
        .arg("GET")
        .arg("maxmemory-policy");
    out.emit("shapes.in_multi", shapes.query::<Value>(connection));
    out.emit("zsets.zpopmin", ask(connection, "ZPOPMIN z:b"));
    Ok(())
}

fn expiry(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    connection.set_options::<_, _, ()>(
        "e:a",
        "x",
        SetOptions::default().with_expiration(SetExpiry::EX(100)),
    )?;
    let within =
        |connection: &mut Connection| connection.ttl("e:a").map(|left: i64| (1..=100).contains(&left));
    out.settle("expiry.ttl", || within(connection), true);
    out.emit("expiry.persist", ask(connection, "PERSIST e:a"));
    out.settle("expiry.ttl_none", || ask(connection, "TTL e:a"), -1);
    ask(connection, "SET e:b x PX 30")?;
    // The expiry travels as a point in time: once it has passed, every replica says nil, however late it is.
    std::thread::sleep(Duration::from_millis(60));
    out.emit("expiry.gone", ask(connection, "GET e:b"));
    Ok(())
}

fn pipelines(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    let mut mixed = pipe();
    mixed
        .set("p:a", 1)
        .incr("p:a", 1)
        .get("p:a")
        .cmd("LPUSH")
        .arg("p:a")
        .arg("wrong")
        .get("p:a");
    out.emit(
        "pipelines.mixed",
        mixed.clone().ignore_errors().query::<Value>(connection),
    );
    out.emit("pipelines.first_error", mixed.query::<Value>(connection));
    let mut writes = pipe();
    for i in 0..5000 {
        writes.set(format!("p:k{i}"), format!("value-{i}"));
    }
    out.emit(
        "pipelines.large_set",
        writes
            .query::<Vec<Value>>(connection)
            .map(|replies| replies.len() as i64),
    );
    let mut reads = pipe();
    for i in 0..5000 {
        reads.get(format!("p:k{i}"));
    }
    let read_all = |connection: &mut Connection, reads: &Pipeline| {
        reads
            .query::<Vec<Option<Vec<u8>>>>(connection)
            .map(|values| digest(values.into_iter().map(Option::unwrap_or_default)))
    };
    out.settle(
        "pipelines.large_get",
        || read_all(connection, &reads),
        digest((0..5000).map(|i| format!("value-{i}"))),
    );
    let mut atomic = pipe();
    atomic
        .atomic()
        .set("m:a", 5)
        .incr("m:a", 1)
        .get("m:a")
        .cmd("LPUSH")
        .arg("m:a")
        .arg("x");
    out.emit(
        "transactions.exec",
        atomic.ignore_errors().query::<Value>(connection),
    );
    let mut aborted = pipe();
    aborted.atomic().set("m:u", "never").cmd("NOSUCH");
    out.emit("transactions.aborted", aborted.query::<Value>(connection));
    out.settle("transactions.not_run", || ask(connection, "GET m:u"), Value::Nil);
    Ok(())
}

fn scripts(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    ask(connection, "SCRIPT FLUSH")?; // so that EVALSHA meets NOSCRIPT and the library has to load the body
    let script = Script::new("return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1])}");
    out.emit(
        "scripts.first",
        script.key("lua:a").arg(3).invoke::<Value>(connection),
    );
    out.emit(
        "scripts.cached",
        script.key("lua:a").arg(4).invoke::<Value>(connection),
    );
    let failing = Script::new("return redis.error_reply('ERR no ' .. KEYS[1])");
    out.emit("scripts.error", failing.key("lua:a").invoke::<Value>(connection));
    out.settle("scripts.value", || ask(connection, "GET lua:a"), bulk("7"));
    Ok(())
}

fn scan(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    let mut keys: Vec<_> = (0..1000).map(|i| format!("scan:{i}")).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key, "x")).collect();
    connection.mset::<_, _, ()>(&pairs)?;
    keys.sort();
    let iterate = |connection: &mut Connection| {
        let mut found = connection
            .scan_match("scan:*")?
            .collect::<RedisResult<Vec<String>>>()?;
        found.sort();
        found.dedup();
        RedisResult::Ok(digest(found))
    };
    out.settle("scan.match", || iterate(connection), digest(&keys));
    Ok(())
}

fn streams(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    out.emit(
        "streams.xadd",
        (1..=5)
            .map(|i| ask(connection, &format!("XADD x:s {i}-0 n {i}")))
            .collect::<Vec<_>>(),
    );
    out.emit("streams.group", ask(connection, "XGROUP CREATE x:s workers 0"));
    let options = StreamReadOptions::default().group("workers", "w1").count(3);
    let read: StreamReadReply = connection.xread_options(&["x:s"], &[">"], &options)?;
    out.emit(
        "streams.read",
        read.keys
            .iter()
            .flat_map(|key| &key.ids)
            .map(|entry| (entry.id.clone(), entry.get::<String>("n")))
            .collect::<Vec<_>>(),
    );
    out.emit(
        "streams.raw",
        ask(connection, "XREADGROUP GROUP workers w2 STREAMS x:s >"),
    );
    out.emit("streams.ack", ask(connection, "XACK x:s workers 1-0 2-0"));
    out.settle("streams.xlen", || ask(connection, "XLEN x:s"), 5);
    out.emit(
        "streams.group_exists",
        ask(connection, "XGROUP CREATE x:s workers 0"),
    );
    Ok(())
}

fn databases(connection: &mut Connection, second: &Client, out: &mut Transcript) -> RedisResult<()> {
    let mut other = second.get_connection()?;
    ask(&mut other, "SET db:k one")?;
    ask(connection, "SET db:k zero")?;
    out.settle("databases.one", || ask(&mut other, "GET db:k"), bulk("one"));
    out.settle("databases.zero", || ask(connection, "GET db:k"), bulk("zero"));
    out.emit("databases.select", ask(&mut other, "SELECT 0"));
    out.settle("databases.selected", || ask(&mut other, "GET db:k"), bulk("zero"));
    out.emit("databases.back", ask(&mut other, "SELECT 1"));
    out.settle("databases.again", || ask(&mut other, "GET db:k"), bulk("one"));
    out.emit("databases.flush", ask(&mut other, "FLUSHDB"));
    out.settle("databases.one_empty", || ask(&mut other, "GET db:k"), Value::Nil);
    out.settle(
        "databases.zero_kept",
        || ask(connection, "GET db:k"),
        bulk("zero"),
    );
    Ok(())
}

fn binary_and_large(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    let mut value: Vec<u8> = (0..=255).collect();
    value.extend_from_slice(b"\r\n$5\r\nhello\r\n*1\r\n+OK\r\n-ERR x\r\n");
    let key: &[u8] = b"bin:\r\n\x00\xff";
    connection.set::<_, _, ()>(key, &value)?;
    out.settle(
        "binary.get",
        || connection.get::<_, Value>(key),
        Value::BulkString(value),
    );
    let large: Vec<u8> = (0..1_usize << 20)
        .map(|i| ((i * 7 + i / 251) % 256) as u8)
        .collect();
    connection.set::<_, _, ()>("big", &large)?;
    let read = |connection: &mut Connection| {
        connection
            .get("big")
            .map(|value: Option<Vec<u8>>| digest([value.unwrap_or_default()]))
    };
    out.settle("large.get", || read(connection), digest([&large]));
    out.emit("large.del", ask(connection, "DEL big"));
    Ok(())
}

fn errors(connection: &mut Connection, out: &mut Transcript) -> RedisResult<()> {
    ask(connection, "SET err:s text")?;
    out.emit("errors.wrong_type_write", ask(connection, "LPUSH err:s x"));
    let code = |connection: &mut Connection| match ask(connection, "HGETALL err:s") {
        Err(error) => error.code().unwrap_or("no code").to_owned(),
        Ok(value) => format!("no error but {value:?}"),
    };
    out.settle("errors.wrong_type_read", || code(connection), "WRONGTYPE");
    for (step, line) in [
        ("errors.not_integer", "INCR err:s"),
        ("errors.unknown", "NOSUCH a b\r\nc"),
        ("errors.arity", "GET"),
        ("errors.syntax", "SET a b MAYBE"),
        ("errors.exec", "EXEC"),
        ("errors.select", "SELECT 99"),
        ("errors.then_ping", "PING"),
    ] {
        out.emit(step, ask(connection, line));
    }
    Ok(())
}
