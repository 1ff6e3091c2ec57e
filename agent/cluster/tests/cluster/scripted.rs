//! A server that says what a test wants it to say.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::setup::NAMESPACE;

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A status code and a text.
    Whole(u16, String),
    /// A text, and then nothing more, not even an end.
    Open(String),
    /// A text, another one after a while, and then nothing more.
    Tells(String, Duration, String),
    /// A text, and an end after a while.
    Ends(String, Duration),
}

impl Answer {
    pub(crate) fn json(value: &Value) -> Self {
        Self::Whole(200, value.to_string())
    }

    /// A page of a list; `more` is the token for the next one.
    pub(crate) fn page(items: &[Value], more: &str) -> Self {
        Self::json(&json!({ "metadata": { "resourceVersion": "10", "continue": more }, "items": items }))
    }
}

/// The requests that came, as path and query.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// How many requests came that contain a word.
pub(crate) fn count(asked: &Asked, word: &str) -> usize {
    asked.lock().unwrap().iter().filter(|uri| uri.contains(word)).count()
}

/// A client of a server that answers each request, known by its path and query, with what `answer` says.
pub(crate) fn server(answer: impl Fn(&str) -> Answer + Send + 'static) -> (Client, Asked) {
    let asked = Asked::default();
    let heard = asked.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let uri = request.uri().to_string();
        heard.lock().unwrap().push(uri.clone());
        let frame = |text: String| stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(text)))]);
        let (code, frames): (_, BoxStream<'static, _>) = match answer(&uri) {
            Answer::Whole(code, text) => (code, frame(text).boxed()),
            Answer::Open(text) => (200, frame(text).chain(stream::pending()).boxed()),
            Answer::Tells(text, pause, more) => {
                let more = stream::once(sleep(pause)).flat_map(move |()| frame(more.clone()));
                (200, frame(text).chain(more).chain(stream::pending()).boxed())
            }
            Answer::Ends(text, pause) => {
                let end = stream::once(sleep(pause)).flat_map(|()| stream::empty());
                (200, frame(text).chain(end).boxed())
            }
        };
        let response = Response::builder().status(code).body(StreamBody::new(frames)).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    (Client::new(service, NAMESPACE), asked)
}

/// A pod of workflow `1`, whose UID is its name.
pub(crate) fn pod(name: &str, version: u32, status: &Value) -> Value {
    let labels = json!({ "app.kubernetes.io/managed-by": "piculet", "piculet.dev/workflow": "1" });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string(), "labels": labels },
        "status": status,
    })
}
