//! What an order asks for, in the SDK's words. The async and the blocking ones are the same, of different types: hence the
//! macros.

use sidelock_cases::line::Line;
use sidelock_client::{Builder, Client, Scope, Window};
use std::time::Duration;

pub(crate) fn text(order: &Line, name: &str) -> String {
    order.get(name).unwrap_or_default()
}

pub(crate) fn span(order: &Line, name: &str) -> Option<Duration> {
    order.number(name).map(Duration::from_millis)
}

pub(crate) fn number(order: &Line, name: &str) -> Option<u32> {
    order.number(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// How the client of a `connect` is made.
pub(crate) fn builder(order: &Line) -> Builder {
    let mut builder = Client::builder().socket(text(order, "socket")).app(text(order, "client"));
    if let Some(scope) = order.get("require_scope").and_then(|scope| Scope::from_name(&scope)) {
        builder = builder.require_scope(scope);
    }
    if let Some(wait) = span(order, "default_wait") {
        builder = builder.default_wait(wait);
    }
    builder
}

pub(crate) fn window(order: &Line) -> Window {
    let per = span(order, "per").unwrap_or_default();
    match order.get("align").as_deref() {
        Some("utc") => Window::utc(per),
        _ => Window::rolling(per),
    }
}

/// The spans that any request may have.
macro_rules! with_spans {
    ($request:expr, $order:expr) => {{
        let mut request = $request;
        if let Some(wait) = $crate::order::span($order, "wait") {
            request = request.wait(wait);
        }
        if let Some(ttl) = $crate::order::span($order, "ttl") {
            request = request.ttl(ttl);
        }
        if let Some(max_hold) = $crate::order::span($order, "max_hold") {
            request = request.max_hold(max_hold);
        }
        request
    }};
}

/// What `acquire`, `try` and `run` ask for.
macro_rules! request {
    ($client:expr, $order:expr) => {{
        use $crate::order::{number, span, text, with_spans};
        let (client, order, key) = ($client, $order, text($order, "key"));
        let permits = number(order, "permits").unwrap_or(1);
        let request = match (number(order, "limit"), span(order, "per")) {
            (Some(limit), None) => client.semaphore(key, limit).permits(permits),
            (Some(limit), Some(per)) => client.rate(key, limit, per).permits(permits),
            _ if order.has("shared") => client.rwlock(key).read(),
            _ if order.has("write") => client.rwlock(key).write(),
            _ => client.lock(key),
        };
        let mut request = with_spans!(request, order);
        if let Some(priority) = order.get("priority").and_then(|priority| priority.parse().ok()) {
            request = request.priority(priority);
        }
        if order.has("reentrant") { request.reentrant() } else { request }
    }};
}

/// What `lock_all` and `try_all` ask for.
macro_rules! several {
    ($client:expr, $order:expr) => {{
        let request = $client.lock_all($order.list("keys"));
        let request = if $order.has("shared") { request.shared() } else { request };
        $crate::order::with_spans!(request, $order)
    }};
}

/// What `once` and `try_once` ask for.
macro_rules! once {
    ($client:expr, $order:expr) => {{
        use $crate::order::{text, window, with_spans};
        with_spans!($client.once(text($order, "key"), window($order)), $order)
    }};
}

pub(crate) use {once, request, several, with_spans};
