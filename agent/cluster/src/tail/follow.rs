//! Opens the streams of a log, one after the other, and decides when there will be no more.
//!
//! | the container | the stream | next |
//! |---|---|---|
//! | waits | | wait for the watch |
//! | runs | ended, or broke | a pause, a look at the pod, the next stream |
//! | runs | quiet for long | a look at the pod, the next stream: the connection may be dead |
//! | runs | quiet after much | a read beside it: is it at the end of the newest file? If not, the next stream |
//! | is over | still open, and quiet | the last reads |
//! | is over | a whole read brought something, or was the first | read once more |
//! | is over | a further whole read brought nothing | complete |
//! | is over | a further whole read is of a newer file, and the last stream was at the end of the one before | complete |
//! | is gone | | lost, or unconfirmed |
//!
//! A kubelet begins to look for newer files when its stream comes to the end of one for the first time. A file that was
//! rotated before that is the last that the stream ever shows, and it is quiet then as if nothing were written.
//!
//! Streams are opened by the pod's name, so each but the first is preceded by a consistent read that checks its UID. A
//! pod that takes the name after that has no container that could have a log yet.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::LogParams;
use kube::client::Body;
use kube::core::Status;
use piculet_core::observation::Seen;
use piculet_core::retry::{Backoff, Growth};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::resume::{Cursor, Next, Passed};
use super::{Opening, TailEnd, TailTarget, Tailed};
use crate::attempts::describe;
use crate::cluster::Cluster;
use crate::presence::Presence;
use crate::watch::{PodNews, PodWatch, Subscription};

/// A stream that brings nothing for so long is opened anew: its connection may have died without a word. Kubelets end
/// theirs after four hours.
const QUIET: Duration = Duration::from_secs(5 * 60);

/// How long to go on with a quiet stream once the container is known to be over. The kubelet looks only every 5 s
/// whether it is, and the last reads find what is left.
const OVER: Duration = Duration::from_millis(50);

/// A stream that brought so many bytes may be one of a file that was rotated meanwhile, once it is [`STILL`]. A file of a
/// usual kubelet has 10 MiB.
const MUCH: u64 = 512 << 10;
const STILL: Duration = Duration::from_secs(1);
/// How long what a read shows may take to come from the stream beside it.
const BESIDE: Duration = Duration::from_millis(300);

/// The same once the watch no longer shows the pod: there may be no last read.
const ABSENT: Duration = Duration::from_secs(5);

/// How often the end of a log that can't be read is tried.
const LAST_READS: u32 = 5;

/// How much of an error's text is read.
const MAX_EXCUSE: usize = 64 * 1024;

/// Pauses before the next stream. The kubelet rotates files every 10 s at most: a shorter pause loses nothing.
const GROWTH: Growth = Growth { initial: Duration::from_millis(500), factor: 2.0, cap: Duration::from_secs(5) };

/// Reads one log.
pub(super) struct Follower {
    cluster: Cluster,
    target: TailTarget,
    news: Subscription,
    out: mpsc::Sender<Tailed>,
    opening: Opening,
    cursor: Cursor,
    /// How many streams were opened.
    streams: u64,
    backoff: Backoff,
    /// What the watch said last of the container, and when.
    hint: Option<(Stand, Instant)>,
    /// The pod is there, but the watch no longer shows it.
    unwatched: bool,
    /// The stream that is followed, or was last, was seen at the end of the newest file, and brought little since.
    caught_up: bool,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Waiting,
    Running,
    Over,
    Gone,
}

/// What came of waiting for a part of a stream.
enum Waited<T> {
    Part(T),
    /// It is time to leave the stream.
    Leave,
    /// It was still for long enough to look what the newest file shows.
    Still,
}

/// How a stream ended.
#[derive(Debug)]
enum Read {
    /// By itself. `level`: it showed everything that was passed on before.
    Whole { level: bool },
    /// It was left because it brought nothing.
    Quiet,
    /// It was left because the newest file is another one.
    Stale,
    /// It has to be read again from its start.
    Again,
    /// The connection broke, or the API server can't reach the kubelet.
    Broken(String),
    /// There is no log to read, in these words.
    Refused(String),
}

/// Nobody reads any more.
struct Closed;

impl Follower {
    pub(super) fn new(
        cluster: Cluster,
        target: TailTarget,
        watch: &PodWatch,
        out: mpsc::Sender<Tailed>,
        opening: Opening,
    ) -> Self {
        Self {
            news: watch.subscribe_pod(&target.uid),
            backoff: Backoff::new(GROWTH, cluster.next_seed()),
            cluster,
            cursor: Cursor::new(target.first_line.clone()),
            target,
            out,
            opening,
            streams: 0,
            hint: None,
            unwatched: false,
            caught_up: false,
        }
    }

    pub(super) async fn run(mut self) {
        if let Ok(end) = self.read_to_the_end().await {
            self.opening.opened();
            // If nobody reads any more, nobody wants to know.
            let _closed = self.out.send(Tailed::End(end)).await;
        }
    }

    async fn read_to_the_end(&mut self) -> Result<TailEnd, Closed> {
        let mut stand = self.first_look().await;
        // Whether the last stream ended as it does when a container is over.
        let mut ended_well = false;
        let mut failed_reads = 0;
        loop {
            match stand {
                Stand::Gone => return Ok(self.gone(ended_well)),
                Stand::Waiting => {
                    stand = self.wait().await;
                    continue;
                }
                Stand::Running | Stand::Over => {}
            }
            let mut brought = false;
            let read = self.read(stand, &mut brought).await?;
            self.opening.closed();
            match &read {
                Read::Broken(error) => tracing::debug!(error, brought, "a stream of the log broke"),
                read => tracing::debug!(?read, brought, "a stream of the log ended"),
            }
            if brought {
                self.backoff.reset();
                failed_reads = 0;
            }
            ended_well = matches!(read, Read::Whole { level: true });
            match (stand, &read) {
                (_, Read::Again) | (Stand::Running, Read::Quiet | Read::Stale) => {}
                // The watch said meanwhile that the container is over: there is nothing to wait for.
                (Stand::Running, Read::Whole { .. })
                    if self.hint.take_if(|(stand, _)| *stand == Stand::Over).is_some() => {}
                // A single read that brings nothing proves nothing: a broken connection can look like that.
                (Stand::Over, Read::Whole { level: true }) if !brought && self.streams > 1 => {
                    return Ok(match self.cursor.doubt() {
                        Some(why) => TailEnd::Unconfirmed { since: None, why: why.to_owned() },
                        None => TailEnd::Complete,
                    });
                }
                (Stand::Over, Read::Whole { level: true }) => {}
                // The file was changed after its last line, and the new one has none.
                (Stand::Over, Read::Whole { level: false }) if !brought && self.caught_up => {
                    return Ok(TailEnd::Complete);
                }
                (Stand::Over, Read::Whole { .. } | Read::Refused(_)) => {
                    failed_reads += 1;
                    if failed_reads == LAST_READS {
                        let why = match read {
                            Read::Refused(why) => why,
                            _ => "the cluster shows less of the log than before".to_owned(),
                        };
                        return Ok(TailEnd::Unconfirmed { since: self.cursor.reached(), why });
                    }
                    self.pause().await;
                }
                _ => self.pause().await,
            }
            stand = self.look().await;
        }
    }

    fn gone(&self, ended_well: bool) -> TailEnd {
        let since = self.cursor.reached();
        if ended_well {
            TailEnd::Unconfirmed { since, why: "the pod was removed".to_owned() }
        } else {
            TailEnd::Lost { since }
        }
    }

    /// Where the container stands, by what the watch knows already.
    async fn first_look(&mut self) -> Stand {
        match self.news.next().now_or_never() {
            Some(news @ PodNews::Present(_)) => self.note(&news),
            // The watch doesn't know the pod (yet), or no longer.
            Some(PodNews::Absent { .. }) | None => self.look().await,
        }
    }

    /// Where the container stands, by a consistent read of the pod. Tries until there is an answer.
    async fn look(&mut self) -> Stand {
        loop {
            match self.cluster.confirm_absent(&self.target.pod, &self.target.uid).await {
                Ok(Presence::Present(pod)) => {
                    // Somebody took its label away.
                    self.unwatched |= self.hint.take_if(|(stand, _)| *stand == Stand::Gone).is_some();
                    return self.stand(&pod);
                }
                Ok(Presence::Gone | Presence::Replaced(_)) => return Stand::Gone,
                Err(error) => {
                    tracing::warn!(%error, "it is not known what became of the pod whose log is read");
                    self.pause().await;
                }
            }
        }
    }

    /// Waits until the container stands elsewhere.
    async fn wait(&mut self) -> Stand {
        if self.unwatched {
            self.pause().await;
            return self.look().await;
        }
        let news = self.news.next().await;
        match self.note(&news) {
            Stand::Gone => self.look().await,
            stand => stand,
        }
    }

    /// Waits a little, or until the watch knows more.
    async fn pause(&mut self) {
        let until = Instant::now() + self.backoff.next();
        let news = tokio::select! {
            biased;
            () = sleep_until(until) => return,
            news = self.news.next() => news,
        };
        self.note(&news);
    }

    fn note(&mut self, news: &PodNews) -> Stand {
        let stand = match news {
            PodNews::Present(pod) => {
                self.unwatched = false;
                self.stand(pod)
            }
            PodNews::Absent { .. } => Stand::Gone,
        };
        self.hint = Some((stand, Instant::now()));
        stand
    }

    fn stand(&self, pod: &Pod) -> Stand {
        match piculet_pods::observe(pod, &self.target.container).seen {
            Seen::Waiting(_) => Stand::Waiting,
            Seen::Running { .. } => Stand::Running,
            Seen::Ended(_) => Stand::Over,
        }
    }

    /// Reads one stream. Says through `brought` whether anything was new.
    async fn read(&mut self, stand: Stand, brought: &mut bool) -> Result<Read, Closed> {
        let follow = stand == Stand::Running;
        let request = match self.request(follow) {
            Ok(request) => request,
            Err(error) => return Ok(Read::Refused(describe(&error))),
        };
        // The kubelet may send no header before the first line.
        let client = self.cluster.client().clone();
        self.opening.asked();
        let mut body = match self.patiently(follow, client.send(request)).await {
            None => return Ok(silent(follow)),
            Some(Err(error)) => return Ok(Read::Broken(describe(&error))),
            Some(Ok(response)) if response.status().is_success() => response.into_body(),
            Some(Ok(response)) => return Ok(self.excuse(response).await),
        };
        self.streams += 1;
        self.opening.opened();
        let mut stream = self.cursor.stream();
        self.caught_up &= !follow;
        // How much since it was seen at the end of the newest file; from there on it does not miss one rotation, only two.
        let mut bytes = 0;
        loop {
            let still = (follow && bytes >= MUCH).then_some(STILL);
            let frame = match self.wait_for(follow, still, body.frame()).await {
                Waited::Leave => return Ok(silent(follow)),
                Waited::Still => {
                    self.caught_up = self.shows_no_more().await;
                    if self.caught_up {
                        bytes = 0;
                        continue;
                    }
                    // What is new may just be on its way.
                    match tokio::time::timeout(BESIDE, body.frame()).await {
                        Ok(frame) => frame,
                        Err(_) => return Ok(Read::Stale),
                    }
                }
                Waited::Part(frame) => frame,
            };
            let frame = match frame {
                None => break,
                Some(Err(error)) => return Ok(Read::Broken(describe(&error))),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            bytes += frame.len() as u64;
            let mut passed = Passed::default();
            let next = self.cursor.push(&mut stream, frame, &mut passed);
            *brought |= !passed.pieces.is_empty();
            self.caught_up &= !follow || bytes < MUCH;
            self.pass_on(passed).await?;
            if next == Next::Stream {
                return Ok(Read::Again);
            }
        }
        if stream.dropped > 0 {
            tracing::debug!(lines = stream.dropped, "lines without a time were dropped");
        }
        if let Some(excuse) = stream.excuse {
            return Ok(Read::Refused(excuse));
        }
        if self.cursor.end(&stream) == Next::Stream {
            return Ok(Read::Again);
        }
        Ok(Read::Whole { level: stream.is_level() })
    }

    /// Whether the newest file ends with what was passed on.
    async fn shows_no_more(&self) -> bool {
        let mut cursor = self.cursor.clone();
        let Ok(request) = self.request(false) else { return false };
        let client = self.cluster.client().clone();
        let read = async {
            let mut body =
                client.send(request).await.ok().filter(|response| response.status().is_success())?.into_body();
            let mut stream = cursor.stream();
            while let Some(frame) = body.frame().await {
                let mut passed = Passed::default();
                let next = cursor.push(&mut stream, frame.ok()?.into_data().unwrap_or_default(), &mut passed);
                if passed != Passed::default() || next == Next::Stream {
                    return Some(false);
                }
            }
            Some(stream.is_level())
        };
        let read = tokio::time::timeout(self.cluster.limits().request, read);
        matches!(read.await, Ok(Some(true)))
    }

    fn request(&self, follow: bool) -> kube::Result<http::Request<Body>> {
        let params = LogParams {
            container: Some(self.target.container.clone()),
            follow,
            timestamps: true,
            // The client rounds it to the nearest second; this is a whole one.
            since_time: self.cursor.since(),
            ..LogParams::default()
        };
        let pods = kube::core::Request::new(Pod::url_path(&(), Some(self.cluster.namespace())));
        let request = pods.logs(&self.target.pod, &params).map_err(kube::Error::BuildRequest)?;
        Ok(request.map(Body::from))
    }

    async fn pass_on(&self, passed: Passed) -> Result<(), Closed> {
        let Passed { gap, pieces } = passed;
        if let Some(gap) = gap {
            self.out.send(Tailed::Gap(gap)).await.map_err(|_| Closed)?;
        }
        if !pieces.is_empty() {
            self.out.send(Tailed::Pieces(pieces)).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    /// Waits for an answer; `None` if it is time to do without.
    async fn patiently<T>(&mut self, follow: bool, next: impl Future<Output = T>) -> Option<T> {
        match self.wait_for(follow, None, next).await {
            Waited::Part(part) => Some(part),
            Waited::Leave | Waited::Still => None,
        }
    }

    /// Waits for the next part of a stream, or until it was `still` for so long.
    async fn wait_for<T>(&mut self, follow: bool, still: Option<Duration>, next: impl Future<Output = T>) -> Waited<T> {
        let began = Instant::now();
        let mut next = pin!(next);
        loop {
            let until = match self.hint {
                _ if !follow => began + self.cluster.limits().request,
                Some((Stand::Over, at)) => began.max(at) + OVER,
                Some((Stand::Gone, at)) => began.max(at) + ABSENT,
                _ => began + QUIET,
            };
            let news = tokio::select! {
                biased;
                next = &mut next => return Waited::Part(next),
                news = self.news.next(), if follow => news,
                () = sleep_until(until) => return Waited::Leave,
                () = sleep_until(began + still.unwrap_or_default()), if still.is_some() => return Waited::Still,
            };
            self.note(&news);
        }
    }

    /// Why there is no stream.
    async fn excuse(&mut self, response: Response<Body>) -> Read {
        let code = response.status();
        let body = Limited::new(response.into_body(), MAX_EXCUSE).collect();
        let text: Bytes = match self.patiently(false, body).await {
            Some(Ok(text)) => text.to_bytes(),
            _ => Bytes::new(),
        };
        let message = match serde_json::from_slice::<Status>(&text) {
            Ok(status) => status.message,
            Err(_) => format!("{code}: {}", String::from_utf8_lossy(&text).trim()),
        };
        match code {
            // Among others 'container … is waiting to start'; the look at the pod tells them apart.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Read::Refused(message),
            _ => Read::Broken(message),
        }
    }
}

/// A stream that is followed may be silent; one that only has to be read may not.
fn silent(follow: bool) -> Read {
    if follow { Read::Quiet } else { Read::Broken("no answer".to_owned()) }
}
