//! A connection that breaks again and again while a log is read.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use fake_cluster::{Body, Connection};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};

/// What happens to the streams of logs.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    inner: Connection,
    /// A stream ends after so many bytes.
    after: usize,
    /// It ends as if that were all. Else its connection breaks.
    quietly: bool,
}

type Frames = BoxStream<'static, io::Result<http_body::Frame<Bytes>>>;

impl Cut {
    pub(crate) fn new(inner: Connection, after: usize, quietly: bool) -> Self {
        Self { inner, after, quietly }
    }
}

impl tower::Service<Request<kube::client::Body>> for Cut {
    type Response = Response<StreamBody<Frames>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let Self { mut inner, after, quietly } = self.clone();
        Box::pin(async move {
            let is_log = request.uri().path().ends_with("/log");
            let response = inner.call(request).await?;
            Ok(response.map(|body| {
                let left = if is_log { after } else { usize::MAX };
                StreamBody::new(stream::unfold((body, left, quietly), next).boxed())
            }))
        })
    }
}

/// The next frame of a body of which `left` bytes are let through.
async fn next(
    (mut body, left, quietly): (Body, usize, bool),
) -> Option<(io::Result<http_body::Frame<Bytes>>, (Body, usize, bool))> {
    if left == 0 {
        // What follows an error is not read.
        let broken = || io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer");
        return (!quietly).then(|| (Err(broken()), (body, left, true)));
    }
    let frame = body.frame().await?.map_err(io::Error::other);
    let frame = frame.map(|frame| {
        let data = frame.into_data().unwrap_or_default();
        let kept = data.len().min(left);
        http_body::Frame::data(data.slice(..kept))
    });
    let left = left - frame.as_ref().map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len));
    Some((frame, (body, left, quietly)))
}
