//! An application on fred: a pool of pipelining clients, transactions, scripts, pub/sub, a blocking pop.
//!
//! Usage: `redis-ambassador-client-fred HOST:PORT PROTOCOL`. Knows nothing of an ambassador. Prints a transcript.

use std::time::{Duration, Instant};

use fred::prelude::*;
use fred::types::RespVersion;

/// How long a read may stay behind a write of the same application before it gives up and prints what it has.
const SETTLE: Duration = Duration::from_secs(5);

/// What ends a run: how many reads, how often repeated, and those whose value never came.
#[derive(Default)]
struct Settled {
    reads: usize,
    repeats: usize,
    gave_up: Vec<String>,
}

fn emit(step: &str, value: &Result<Value, Error>) {
    println!("{step}: {value:?}");
}

impl Settled {
    /// Reads until the value is the expected one, then prints the value that was read last: a replica is
    /// behind its master. Against a plain Redis the harness demands zero repeats.
    async fn settle(
        &mut self,
        step: &str,
        mut read: impl AsyncFnMut() -> Result<Value, Error>,
        expected: Value,
    ) {
        let deadline = Instant::now() + SETTLE;
        self.reads += 1;
        loop {
            let value = read().await;
            let right = value.as_ref() == Ok(&expected);
            if right || Instant::now() >= deadline {
                if !right {
                    self.gave_up.push(format!("\"{step}\""));
                }
                return emit(step, &value);
            }
            self.repeats += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(protocol)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: redis-ambassador-client-fred HOST:PORT 2|3");
        std::process::exit(2);
    };
    let mut config = Config::from_url(&format!("redis://{address}"))?;
    config.version = if protocol == "3" {
        RespVersion::RESP3
    } else {
        RespVersion::RESP2
    };
    let builder = Builder::from_config(config);
    let pool = builder.build_pool(3)?;
    pool.init().await?;
    let mut settled = Settled::default();
    values(&pool, &mut settled).await?;
    transactions(&pool, &mut settled).await?;
    publish_subscribe(&pool, &builder).await?;
    blocking_pop(&pool, &builder).await?;
    many(&pool, &mut settled).await?;
    pool.quit().await?;
    let (reads, repeats, gave_up) = (settled.reads, settled.repeats, settled.gave_up.join(","));
    eprintln!(
        "{{\"library\":\"fred 10.1.0\",\"settle\":{{\"reads\":{reads},\"repeats\":{repeats},\"gave_up\":[{gave_up}]}}}}"
    );
    Ok(())
}

async fn values(pool: &Pool, settled: &mut Settled) -> Result<(), Error> {
    emit("values.ping", &pool.ping(None).await);
    emit("values.set", &pool.set("s:a", "one", None, None, false).await);
    settled
        .settle("values.get", async || pool.get("s:a").await, "one".into())
        .await;
    emit(
        "values.hset",
        &pool.hset("h:a", [("name", "Ada"), ("age", "36")]).await,
    );
    settled
        .settle(
            "values.hget",
            async || pool.hget("h:a", "name").await,
            "Ada".into(),
        )
        .await;
    emit("values.wrong_type", &pool.lpush("s:a", "x").await);
    emit("values.del", &pool.del("s:a").await);
    settled
        .settle("values.gone", async || pool.get("s:a").await, Value::Null)
        .await;
    let script = "return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1])}";
    emit("values.eval", &pool.eval(script, "lua:a", 3).await);
    let client = pool.next();
    let pipeline = client.pipeline();
    let _: () = pipeline.set("p:a", 1, None, None, false).await?;
    let _: () = pipeline.incr("p:a").await?;
    let _: () = pipeline.get("p:a").await?;
    emit("values.pipeline", &pipeline.all().await);
    Ok(())
}

async fn transactions(pool: &Pool, settled: &mut Settled) -> Result<(), Error> {
    let transaction = pool.next().multi();
    let _: () = transaction.set("m:a", 5, None, None, false).await?;
    let _: () = transaction.incr("m:a").await?;
    let _: () = transaction.get("m:a").await?;
    emit("transactions.exec", &transaction.exec(true).await);
    settled
        .settle("transactions.after", async || pool.get("m:a").await, "6".into())
        .await;
    Ok(())
}

async fn publish_subscribe(pool: &Pool, builder: &Builder) -> Result<(), Error> {
    let subscriber = builder.build()?;
    subscriber.init().await?;
    let mut messages = subscriber.message_rx();
    subscriber.subscribe("news").await?;
    let client = pool.next();
    subscribed(client).await?;
    for number in 0..20 {
        emit(
            "pubsub.receivers",
            &client.publish("news", format!("item {number}")).await,
        );
    }
    for _ in 0..20 {
        let message = tokio::time::timeout(SETTLE, messages.recv()).await;
        println!(
            "pubsub.message: {:?}",
            message.ok().and_then(Result::ok).map(|message| message.value)
        );
    }
    subscriber.quit().await
}

/// Until the server itself counts the subscriber: fred's `subscribe` returns before it has written the command
/// (`Connection::push_command` answers what `has_no_responses` at once), so a message published right after it finds
/// nobody now and then, on a plain server too (of 1,000 on a plain Redis 8.0: 299 in RESP2, 405 in RESP3).
async fn subscribed(client: &Client) -> Result<(), Error> {
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        let counts: std::collections::HashMap<String, i64> = client.pubsub_numsub("news").await?;
        if counts.get("news") == Some(&1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn blocking_pop(pool: &Pool, builder: &Builder) -> Result<(), Error> {
    let waiter = builder.build()?;
    waiter.init().await?;
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { waiter.blpop::<Value, _>(vec!["block:a", "block:b"], 10.0).await }
    });
    let deadline = Instant::now() + SETTLE;
    // Until the server itself says that a client waits, so that the push really comes second.
    while Instant::now() < deadline {
        let info: String = pool.info(Some(fred::types::InfoKind::Clients)).await?;
        if !info.contains("blocked_clients:0\r") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    emit("blocking.push", &pool.rpush("block:b", "job").await);
    emit(
        "blocking.popped",
        &waiting.await.expect("the task does not panic"),
    );
    waiter.quit().await
}

/// Twenty tasks share the pool.
async fn many(pool: &Pool, settled: &mut Settled) -> Result<(), Error> {
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for field in 0..20 {
                    let _: () = pool.incr("pool:n").await?;
                    let _: () = pool
                        .hset(format!("pool:{number}"), (format!("f{field}"), number))
                        .await?;
                }
                Ok::<_, Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics")?;
    }
    settled
        .settle("many.sum", async || pool.get("pool:n").await, "400".into())
        .await;
    settled
        .settle("many.fields", async || pool.hlen("pool:7").await, 20.into())
        .await;
    Ok(())
}
