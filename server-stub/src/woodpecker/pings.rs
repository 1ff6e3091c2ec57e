//! How often a client may send PING frames, by the rule of grpc-go's server.
//!
//! A ping is early if it comes sooner after the one before than the minimum allows: five minutes while a call is under way,
//! if nothing else is set, and two hours otherwise. The third early one in a row is one too many. Any HEADERS or DATA that
//! the server sends forgive what was before. Answers to the server's own pings don't count.

mod frames;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use frames::{Frame, Frames, Kind};

/// The minimum while no call is under way.
const IDLE_MIN_TIME: Duration = Duration::from_secs(2 * 60 * 60);
/// Early pings that are let pass.
const MAX_STRIKES: u32 = 2;
/// What the server says before it closes the connection.
const DEBUG_DATA: &[u8] = b"too_many_pings";
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Watches the frames of one connection.
#[derive(Debug)]
pub(super) struct Enforcer {
    min_time: Duration,
    received: Frames,
    sent: Frames,
    streams: BTreeSet<u32>,
    last_stream: u32,
    last_ping: Option<Instant>,
    strikes: u32,
    is_forgiven: bool,
}

impl Enforcer {
    pub(super) fn new(min_time: Duration) -> Self {
        Self {
            min_time,
            received: Frames::of_client(),
            sent: Frames::of_server(),
            streams: BTreeSet::new(),
            last_stream: 0,
            last_ping: None,
            strikes: 0,
            is_forgiven: false,
        }
    }

    /// Bytes came from the client. True: one ping too many.
    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) -> bool {
        for frame in self.received.take(bytes) {
            match frame.kind {
                Kind::Headers => {
                    self.streams.insert(frame.stream);
                    self.last_stream = self.last_stream.max(frame.stream);
                }
                Kind::Reset => {
                    self.streams.remove(&frame.stream);
                }
                Kind::Ping if !frame.is_ack() => self.ping(now),
                Kind::Data | Kind::Ping | Kind::Other => {}
            }
        }
        self.strikes > MAX_STRIKES
    }

    /// Bytes go to the client.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        for frame in self.sent.take(bytes) {
            if matches!(frame.kind, Kind::Headers | Kind::Data) {
                self.is_forgiven = true;
            }
            if frame.kind == Kind::Reset || frame.ends_stream() {
                self.streams.remove(&frame.stream);
            }
        }
    }

    /// How many bytes of the frame that is being sent are still missing, at least; 0: another frame may begin.
    pub(super) fn missing(&self) -> usize {
        self.sent.missing()
    }

    /// The frame that ends the connection.
    pub(super) fn goaway(&self) -> Vec<u8> {
        let frame = Frame { kind: Kind::Other, flags: 0, stream: 0 };
        let mut bytes = frame.header(GOAWAY, 8 + DEBUG_DATA.len());
        bytes.extend(self.last_stream.to_be_bytes());
        bytes.extend(ENHANCE_YOUR_CALM.to_be_bytes());
        bytes.extend(DEBUG_DATA);
        bytes
    }

    fn ping(&mut self, now: Instant) {
        let before = self.last_ping.replace(now);
        if std::mem::take(&mut self.is_forgiven) {
            self.strikes = 0;
            return;
        }
        let min_time = if self.streams.is_empty() { IDLE_MIN_TIME } else { self.min_time };
        if before.is_some_and(|before| now < before + min_time) {
            self.strikes += 1;
        }
    }
}

#[cfg(test)]
mod tests;
