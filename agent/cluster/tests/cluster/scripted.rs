//! A server that knows one pod, and shows what a test wants it to show.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use crate::setup::{NAMESPACE, STEP};

/// The queries of the requests for a log.
pub(crate) type Asked = Arc<Mutex<Vec<String>>>;

/// A server with the pod `wp-1` of UID `u1`, whose container is over. Each request for its log is answered with the
/// next text, and the last one for ever.
pub(crate) fn server(texts: &[&str], asked: Asked) -> Client {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "wp-1", "uid": "u1", "resourceVersion": "1" },
        "status": {
            "phase": "Succeeded",
            "containerStatuses": [{
                "name": STEP, "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": 0, "reason": "Completed" } },
            }],
        },
    });
    let list = json!({ "metadata": { "resourceVersion": "1" }, "items": [&pod] }).to_string();
    let pod = pod.to_string();
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let answer = move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let answer = match request.uri().path().rsplit('/').next() {
            Some("log") => {
                let mut asked = asked.lock().unwrap();
                asked.push(query);
                texts[asked.len().min(texts.len()) - 1].clone()
            }
            Some("pods") if query.contains("watch=true") => {
                return futures_util::future::Either::Left(std::future::pending());
            }
            Some("pods") => list.clone(),
            _ => pod.clone(),
        };
        let answer = Response::new(Body::from(answer.into_bytes()));
        futures_util::future::Either::Right(std::future::ready(Ok::<_, Infallible>(answer)))
    };
    Client::new(tower::service_fn(answer), NAMESPACE)
}
