//! A connection, as the server sees it: it can be broken at any moment, and its client is watched for too many pings.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::pings::Enforcer;

/// Breaks a connection when it is cancelled. Every request on the connection carries it.
#[derive(Debug, Clone)]
pub(super) struct Breaker(pub(super) CancellationToken);

/// Told when a client pinged too often.
pub(super) type Alarm = Box<dyn Fn() + Send>;

/// A connection.
pub(super) struct Line<IO> {
    inner: IO,
    breaker: Breaker,
    broken: Pin<Box<WaitForCancellationFutureOwned>>,
    pings: Enforcer,
    alarm: Alarm,
    /// What remains to be said before the connection is closed, once that is decided.
    last_words: Option<Vec<u8>>,
    /// Who reads, while the last words have to wait for the end of a frame.
    reader: Option<Waker>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Line<IO> {
    pub(super) fn new(inner: IO, breaker: CancellationToken, ping_min_time: Duration, alarm: Alarm) -> Self {
        Self {
            inner,
            broken: Box::pin(breaker.clone().cancelled_owned()),
            breaker: Breaker(breaker),
            pings: Enforcer::new(ping_min_time),
            alarm,
            last_words: None,
            reader: None,
        }
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.broken.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Says why, and closes the connection.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.pings.missing() > 0 {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while let Some(words) = self.last_words.as_mut().filter(|words| !words.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, words)) {
                Ok(count) => drop(words.drain(..count)),
                Err(error) => return Poll::Ready(error),
            }
        }
        // However that ends, the connection does.
        ready!(Pin::new(&mut self.inner).poll_flush(cx)).ok();
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx)).ok();
        Poll::Ready(io::ErrorKind::ConnectionAborted.into())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Line<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.poll_broken(cx)?;
        if this.last_words.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            let now = tokio::time::Instant::now().into_std();
            if !this.pings.received(&buffer.filled()[before..], now) {
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
            (this.alarm)();
            this.last_words = Some(this.pings.goaway());
        }
        this.poll_part(cx).map(Err)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.breaker.0.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let bytes = match (&this.last_words, this.pings.missing()) {
            (None, _) => bytes,
            // Nothing comes after the last words.
            (Some(_), 0) => return Poll::Ready(Ok(bytes.len())),
            (Some(_), missing) => &bytes[..missing.min(bytes.len())],
        };
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.pings.sent(&bytes[..count]);
        if let Some(reader) = this.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<IO> Connected for Line<IO> {
    type ConnectInfo = Breaker;

    fn connect_info(&self) -> Breaker {
        self.breaker.clone()
    }
}

#[cfg(test)]
mod tests;
