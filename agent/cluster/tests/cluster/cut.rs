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
    end: End,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its connection breaks.
    Broken,
    /// As if that were all.
    Early,
    /// Not at all, and nothing more comes, not even the end of what was all.
    Never,
}

type Frames = BoxStream<'static, io::Result<http_body::Frame<Bytes>>>;

impl Cut {
    pub(crate) fn new(inner: Connection, after: usize, end: End) -> Self {
        Self { inner, after, end }
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
        let Self { mut inner, after, end } = self.clone();
        Box::pin(async move {
            let follows = request.uri().query().is_some_and(|query| query.contains("follow=true"));
            let is_log = request.uri().path().ends_with("/log");
            // Who doesn't follow a log gets an answer, whole or not.
            let end = if end == End::Never && !follows { None } else { is_log.then_some(end) };
            let response = inner.call(request).await?;
            Ok(response.map(|body| {
                let left = if end.is_some() { after } else { usize::MAX };
                StreamBody::new(stream::unfold((body, left, end), next).boxed())
            }))
        })
    }
}

type Reading = (Body, usize, Option<End>);

/// The next frame of a body of which `left` bytes are let through.
async fn next((mut body, left, end): Reading) -> Option<(io::Result<http_body::Frame<Bytes>>, Reading)> {
    let frame = match left {
        0 => None,
        _ => body.frame().await,
    };
    let Some(frame) = frame else {
        return match end {
            Some(End::Broken) if left == 0 => {
                let broken = io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer");
                // What follows an error is not read.
                Some((Err(broken), (body, left, None)))
            }
            Some(End::Never) => std::future::pending().await,
            _ => None,
        };
    };
    let frame = frame.map_err(io::Error::other).map(|frame| {
        let data = frame.into_data().unwrap_or_default();
        let kept = data.len().min(left);
        http_body::Frame::data(data.slice(..kept))
    });
    let left = left - frame.as_ref().map_or(0, |frame| frame.data_ref().map_or(0, Bytes::len));
    Some((frame, (body, left, end)))
}
