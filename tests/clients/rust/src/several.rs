//! What an application does with several blocking connections at once: contention, waiting, being woken.

use std::time::{Duration, Instant};

use redis::{Client, Commands as _, RedisResult, cmd};

use crate::steps::{ask, bulk};
use crate::transcript::Transcript;

/// Runs every step.
pub fn run(client: &Client, out: &mut Transcript) -> RedisResult<()> {
    optimistic(client, out)?;
    threads(client, out)?;
    publish_subscribe(client, out)?;
    blocking_pop(client, out)
}

/// Four threads add to one number by WATCH, GET, MULTI, SET, EXEC: no update may get lost.
fn optimistic(client: &Client, out: &mut Transcript) -> RedisResult<()> {
    let mut connection = client.get_connection()?;
    connection.set::<_, _, ()>("w:sum", 0)?;
    let add = || {
        let mut own = client.get_connection()?;
        for _ in 0..25 {
            redis::transaction(&mut own, &["w:sum"], |own, pipe| {
                let value: i64 = own.get("w:sum")?;
                pipe.set("w:sum", value + 1).ignore().query::<Option<()>>(own)
            })?;
        }
        RedisResult::Ok(25)
    };
    let done = in_threads(4, |_| add())?;
    out.emit("optimistic.updates", done);
    out.settle(
        "optimistic.sum",
        || ask(&mut connection, "GET w:sum"),
        bulk("100"),
    );
    Ok(())
}

/// Twenty threads, a connection each.
fn threads(client: &Client, out: &mut Transcript) -> RedisResult<()> {
    let work = |number: i64| {
        let mut own = client.get_connection()?;
        for field in 0..20 {
            own.incr::<_, _, ()>("threads:n", 1)?;
            own.hset::<_, _, _, ()>(format!("threads:{number}"), field, number)?;
        }
        RedisResult::Ok(number)
    };
    out.emit("threads.done", in_threads(20, work));
    let mut connection = client.get_connection()?;
    out.settle(
        "threads.sum",
        || ask(&mut connection, "GET threads:n"),
        bulk("400"),
    );
    Ok(())
}

/// Runs the work in so many threads; the results in the order of the threads.
fn in_threads(count: i64, work: impl Fn(i64) -> RedisResult<i64> + Sync) -> RedisResult<Vec<i64>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn({
                    let work = &work;
                    move || work(number)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}

fn publish_subscribe(client: &Client, out: &mut Transcript) -> RedisResult<()> {
    let (mut receiving, mut sending) = (client.get_connection()?, client.get_connection()?);
    let mut subscriber = receiving.as_pubsub();
    subscriber.set_read_timeout(Some(Duration::from_secs(5)))?;
    subscriber.subscribe("news")?;
    subscriber.psubscribe("we*")?;
    let send = |i: i64| sending.publish::<_, _, i64>("news", format!("item {i}"));
    out.emit(
        "pubsub.receivers",
        (0..20).map(send).collect::<RedisResult<Vec<_>>>(),
    );
    out.emit("pubsub.pattern", sending.publish::<_, _, i64>("weather", "rain"));
    let receive = |_| {
        subscriber.get_message().map(|message| {
            (
                message.get_channel_name().to_owned(),
                message.get_payload::<String>(),
            )
        })
    };
    out.emit("pubsub.messages", (0..21).map(receive).collect::<Vec<_>>());
    subscriber.unsubscribe("news")?;
    out.emit("pubsub.nobody", sending.publish::<_, _, i64>("news", "lost"));
    Ok(())
}

fn blocking_pop(client: &Client, out: &mut Transcript) -> RedisResult<()> {
    let (mut waiting, mut pushing) = (client.get_connection()?, client.get_connection()?);
    let popped = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| ask(&mut waiting, "BLPOP block:a block:b 10"));
        let deadline = Instant::now() + Duration::from_secs(5);
        // Until the server itself says that a client waits, so that the push really comes second.
        while Instant::now() < deadline {
            let info: String = cmd("INFO").arg("clients").query(&mut pushing)?;
            if !info.contains("blocked_clients:0\r") {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        out.emit("blocking.push", ask(&mut pushing, "RPUSH block:b job"));
        waiter.join().expect("no thread panics")
    });
    out.emit("blocking.popped", popped);
    out.emit("blocking.timeout", ask(&mut waiting, "BLPOP block:a 0.05"));
    Ok(())
}
