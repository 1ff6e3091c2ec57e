//! The wire without a wire: a service for `kube::Client`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::BodyExt as _;

use crate::body::{Body, broken};
use crate::cluster::Shared;

/// A user's connection to the cluster. Keeps the cluster alive.
#[derive(Debug, Clone)]
pub struct Connection {
    cluster: Arc<Shared>,
    user: Arc<str>,
}

impl Connection {
    pub(crate) fn new(cluster: Arc<Shared>, user: &str) -> Self {
        Self { cluster, user: user.into() }
    }
}

impl<B> tower::Service<Request<B>> for Connection
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { cluster, user } = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let collected = std::pin::pin!(body.collect()).await.map_err(|_| broken())?;
            cluster.api.serve(Request::from_parts(head, collected.to_bytes()), &user).await
        })
    }
}
