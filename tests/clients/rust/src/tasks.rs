//! What an application on tokio does: many tasks share one multiplexed connection.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client, RedisResult, Value, cmd};

use crate::transcript::Transcript;

/// Runs every step on a runtime of its own.
pub fn run(client: &Client, transcript: &mut Transcript) -> RedisResult<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime with two threads starts");
    let mut connection = runtime.block_on(connect(client))?;
    runtime.block_on(twenty_tasks(&connection, transcript))?;
    // Each try is a whole round trip on the shared connection; waiting between tries is the transcript's.
    transcript.settle(
        "tasks.sum",
        || runtime.block_on(get(&mut connection, "pool:n")),
        "400",
    );
    transcript.settle(
        "tasks.fields",
        || {
            runtime.block_on(async {
                cmd("HLEN")
                    .arg("pool:7")
                    .query_async::<i64>(&mut connection.clone())
                    .await
            })
        },
        20,
    );
    runtime.block_on(publish_subscribe(client, transcript))?;
    runtime.block_on(pipelines(&mut connection, transcript))
}

/// The library gives up on a reply after half a second, which a busy test machine takes for itself at times.
async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let patient = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(10)))
        .set_response_timeout(Some(Duration::from_secs(10)));
    client
        .get_multiplexed_async_connection_with_config(&patient)
        .await
}

async fn get(connection: &mut MultiplexedConnection, key: &str) -> RedisResult<Value> {
    connection.get(key).await
}

async fn twenty_tasks(connection: &MultiplexedConnection, transcript: &Transcript) -> RedisResult<()> {
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let mut own = connection.clone();
            tokio::spawn(async move {
                for field in 0..20 {
                    own.incr::<_, _, ()>("pool:n", 1).await?;
                    own.hset::<_, _, _, ()>(format!("pool:{number}"), field, number)
                        .await?;
                }
                RedisResult::Ok(number)
            })
        })
        .collect();
    let mut done = Vec::<i64>::new();
    for task in tasks {
        done.push(task.await.expect("no task panics")?);
    }
    transcript.emit("tasks.done", done);
    Ok(())
}

async fn publish_subscribe(client: &Client, transcript: &Transcript) -> RedisResult<()> {
    let mut subscriber = client.get_async_pubsub().await?;
    let mut publisher = connect(client).await?;
    subscriber.subscribe("async-news").await?;
    let mut receivers = Vec::new();
    for number in 0..20 {
        receivers.push(
            publisher
                .publish::<_, _, i64>("async-news", format!("item {number}"))
                .await?,
        );
    }
    transcript.emit("tasks.receivers", receivers);
    let messages = subscriber
        .on_message()
        .take(20)
        .map(|message| message.get_payload::<String>())
        .collect::<Vec<_>>();
    let messages = tokio::time::timeout(Duration::from_secs(5), messages).await;
    transcript.emit("tasks.messages", messages.unwrap_or_default());
    Ok(())
}

async fn pipelines(connection: &mut MultiplexedConnection, transcript: &Transcript) -> RedisResult<()> {
    let mut pipeline = redis::pipe();
    pipeline
        .atomic()
        .set("async:a", 5)
        .ignore()
        .incr("async:a", 1)
        .get("async:a");
    transcript.emit("tasks.exec", pipeline.query_async::<Value>(connection).await);
    let mut pipeline = redis::pipe();
    for number in 0..5000 {
        pipeline.set(format!("async:k{number}"), number).ignore();
    }
    pipeline.incr("async:n", 1);
    transcript.emit("tasks.large", pipeline.query_async::<Value>(connection).await);
    Ok(())
}
