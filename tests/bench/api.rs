//! What stands between the agent and an API server, over TLS, and writes down what passes: requests, when pods are asked
//! for, and when the agent is told of a container's end.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use fake_cluster::FakeCluster;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use piculet_pods::label;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tower::{BoxError, ServiceExt as _};

use crate::certificates::Certificates;

/// Streams of one HTTP/2 connection, as an API server of Kubernetes allows by itself.
const STREAMS: u32 = 100;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// The API server behind.
pub(crate) enum Behind {
    Fake(FakeCluster),
    Real(kube::Client),
}

/// The way to an API server.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    behind: Behind,
    notes: Mutex<Notes>,
    /// Connections that were accepted.
    connections: AtomicUsize,
    /// Logs that are being followed.
    followed: AtomicUsize,
    folder: TempDir,
}

#[derive(Default)]
struct Notes {
    /// By verb and resource.
    requests: BTreeMap<String, u64>,
    /// Pods that were asked for, as they were sent, and when.
    pods: Vec<(Instant, Bytes)>,
    /// What watches of pods said, and when.
    events: Vec<(Instant, Bytes)>,
}

impl Api {
    pub(crate) async fn start(behind: Behind, certificates: &Certificates, namespace: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = TempDir::new().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster:\n    server: \
             https://{address}\n    certificate-authority: {}\nusers:\n- name: admin\n  user:\n    token: admin\n\
             contexts:\n- name: c\n  context:\n    cluster: c\n    user: admin\n    namespace: {namespace}\n",
            certificates.authority().display()
        );
        std::fs::write(folder.path().join("kubeconfig"), text).unwrap();
        let shared = Shared {
            behind,
            notes: Mutex::default(),
            connections: AtomicUsize::new(0),
            followed: AtomicUsize::new(0),
            folder,
        };
        let api = Self(Arc::new(shared));
        tokio::spawn(api.clone().listen(listener, acceptor(certificates)));
        api
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.folder.path().join("kubeconfig")
    }

    /// How many requests there were, by verb and resource.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.notes().requests.clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// How many logs are being followed.
    pub(crate) fn followed(&self) -> usize {
        self.0.followed.load(Ordering::Relaxed)
    }

    /// By step: when its pod was asked for.
    pub(crate) fn created(&self) -> BTreeMap<String, Instant> {
        let notes = self.notes();
        let pods = notes.pods.iter().map(|(at, text)| (step(&serde_json::from_slice(text).unwrap()), *at));
        pods.collect()
    }

    /// By step: when the agent was told that its container is over.
    pub(crate) fn ended(&self) -> BTreeMap<String, Instant> {
        let mut ended = BTreeMap::new();
        for (at, text) in &self.notes().events {
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let event: Value = serde_json::from_slice(line).unwrap();
                if event["object"]["status"]["containerStatuses"][0]["state"]["terminated"].is_object() {
                    ended.entry(step(&event["object"])).or_insert(*at);
                }
            }
        }
        ended
    }

    async fn listen(self, listener: TcpListener, acceptor: TlsAcceptor) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (api, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                api.0.connections.fetch_add(1, Ordering::Relaxed);
                let service = hyper::service::service_fn(move |request| api.clone().serve(request));
                let mut server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                server.http2().max_concurrent_streams(STREAMS);
                // An agent that is gone breaks its connections.
                server.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    }

    async fn serve(self, request: Request<Incoming>) -> Result<Answer, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let call = Call::of(&head.method, head.uri.path(), head.uri.query().unwrap_or_default());
        {
            let mut notes = self.notes();
            *notes.requests.entry(format!("{} {}", call.verb, call.resource)).or_default() += 1;
            if call.verb == "create" && call.resource == "pods" {
                notes.pods.push((Instant::now(), body.clone()));
            }
        }
        let answer = self.pass(Request::from_parts(head, body)).await?;
        let follows = call.resource == "pods/log" && call.verb == "follow";
        if follows && answer.status().is_success() {
            let followed = Followed::new(self);
            let note = move |_: &Bytes| {
                let _held = &followed;
            };
            return Ok(answer.map(|body| Noted { body, note }.boxed_unsync()));
        }
        if call.verb == "watch" && call.resource == "pods" {
            let note = move |data: &Bytes| self.notes().events.push((Instant::now(), data.clone()));
            return Ok(answer.map(|body| Noted { body, note }.boxed_unsync()));
        }
        Ok(answer)
    }

    async fn pass(&self, request: Request<Bytes>) -> Result<Answer, BoxError> {
        match &self.0.behind {
            Behind::Fake(cluster) => {
                let request = request.map(http_body_util::Full::new);
                let answer = cluster.connect(fake_cluster::ADMIN).oneshot(request).await?;
                Ok(answer.map(|body| body.map_err(|error: io::Error| error.into()).boxed_unsync()))
            }
            Behind::Real(client) => {
                let (mut head, body) = request.into_parts();
                // These are of the agent's connection and user.
                head.headers.remove(http::header::HOST);
                head.headers.remove(http::header::AUTHORIZATION);
                let path = head.uri.path_and_query().unwrap().as_str();
                head.uri = path.parse().unwrap();
                head.version = http::Version::default();
                let request = Request::from_parts(head, kube::client::Body::from(body.to_vec()));
                let answer = client.send(request).await?;
                Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The step that a pod is of. Steps of all workflows have names of their own here.
fn step(pod: &Value) -> String {
    pod["metadata"]["labels"][label::STEP_LEGACY].as_str().unwrap().to_owned()
}

/// What a request is about, in Kubernetes' words.
struct Call {
    verb: &'static str,
    resource: String,
}

impl Call {
    fn of(method: &Method, path: &str, query: &str) -> Self {
        let mut parts = path.trim_matches('/').split('/').skip_while(|part| *part != "namespaces").skip(2);
        let (resource, name, below) = (parts.next(), parts.next(), parts.next());
        let resource = match (resource, below) {
            (Some(resource), Some(below)) => format!("{resource}/{below}"),
            (Some(resource), None) => resource.to_owned(),
            (None, _) => path.to_owned(),
        };
        let has = |key: &str| query.split('&').any(|pair| pair.strip_prefix(key).is_some_and(|rest| rest != "=false"));
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_none() => "deletecollection",
            Method::DELETE => "delete",
            _ if has("watch") => "watch",
            _ if has("follow") => "follow",
            _ if name.is_none() => "list",
            _ => "get",
        };
        Self { verb, resource }
    }
}

/// A log that is followed for as long as this lives.
struct Followed(Api);

impl Followed {
    fn new(api: Api) -> Self {
        api.0.followed.fetch_add(1, Ordering::Relaxed);
        Self(api)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.0.followed.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body whose data is shown to `note` as it leaves.
struct Noted<N> {
    body: UnsyncBoxBody<Bytes, BoxError>,
    note: N,
}

impl<N: Fn(&Bytes) + Unpin> Body for Noted<N> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            (self.note)(data);
        }
        polled
    }
}

fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(certificates.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(certificates.private.as_bytes()).unwrap();
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
