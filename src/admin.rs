//! The admin listener: what an orchestrator, a Prometheus and a person ask of the process over HTTP.
//!
//! `/live`, `/ready`, `/metrics`, `/topology`. It only reads; connections, header sizes and times are bounded.

mod metrics;
mod ready;
mod topology;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::control::Report;
use crate::settings::ReadPolicy;
use crate::stats::WorkerStats;
use crate::topology::Topology;

/// A kubelet, a Prometheus, a person or two; more wait in the backlog.
const MOST_CONNECTIONS: usize = 32;
/// hyper's least is 8 KiB; requests here are a line and a few headers.
const HEADER_BYTES: usize = 16 * 1024;
const HEADER_TIME: Duration = Duration::from_secs(5);
/// However often it asks, a connection is ended after this, so that none of the few is held for ever.
const CONNECTION_TIME: Duration = Duration::from_mins(2);
/// Out of descriptors: accepting again at once would only spin.
const BACK_OFF: Duration = Duration::from_millis(100);

const PATHS: &str = "no such path; there are:\n  /live      200 while the process runs\n  /ready     200 when a master and what reads need are usable, else 503\n  /metrics   Prometheus\n  /topology  the replication group as JSON\n";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct State {
    /// Which nodes reads need.
    pub policy: ReadPolicy,
    /// The group as the workers see it.
    pub topology: watch::Receiver<Arc<Topology>>,
    /// The group as the probes see it.
    pub report: watch::Receiver<Arc<Report>>,
    /// Every worker's counters.
    pub stats: Vec<Arc<WorkerStats>>,
}

/// Answers for as long as it is polled.
pub async fn serve(listener: TcpListener, state: State) {
    let registry = Arc::new(metrics::registry(state.clone()));
    let state = Arc::new(state);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "the admin listener cannot accept; trying again");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let (state, registry) = (Arc::clone(&state), Arc::clone(&registry));
        connections.spawn(async move {
            converse(stream, &state, &registry).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, state: &State, registry: &prometheus_client::registry::Registry) {
    let service = service_fn(|request| async move {
        let response = answer(request.method(), request.uri().path(), state, registry);
        // Bodies are not read: nothing here takes one.
        let _: Request<hyper::body::Incoming> = request;
        Ok::<_, Infallible>(response)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME, connection).await {
        debug!(%error, "an admin connection ended in an error");
    }
}

fn answer(
    method: &Method,
    path: &str,
    state: &State,
    registry: &prometheus_client::registry::Registry,
) -> Response<Full<Bytes>> {
    let handler: fn(&State, &prometheus_client::registry::Registry) -> Response<Full<Bytes>> = match path {
        "/live" => |_, _| reply(StatusCode::OK, TEXT, "live\n".to_owned()),
        "/ready" => |state, _| ready(state),
        "/metrics" => |_, registry| exposition(registry),
        "/topology" => |state, _| group(state),
        _ => |_, _| reply(StatusCode::NOT_FOUND, TEXT, PATHS.to_owned()),
    };
    if method == Method::GET || method == Method::HEAD {
        return handler(state, registry);
    }
    let mut response = reply(
        StatusCode::METHOD_NOT_ALLOWED,
        TEXT,
        "only GET and HEAD\n".to_owned(),
    );
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn ready(state: &State) -> Response<Full<Bytes>> {
    match ready::verdict(&state.topology.borrow(), state.policy) {
        Ok(()) => reply(StatusCode::OK, TEXT, "ready\n".to_owned()),
        Err(reason) => reply(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            format!("not ready: {reason}\n"),
        ),
    }
}

fn exposition(registry: &prometheus_client::registry::Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => reply(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn group(state: &State) -> Response<Full<Bytes>> {
    let text = topology::json(&state.topology.borrow(), &state.report.borrow());
    reply(StatusCode::OK, JSON, text)
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
