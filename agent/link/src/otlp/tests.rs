//! The way from the outlet to the exporter, in virtual time.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use piculet_core::trace::{Kind, Part, Span, SpanId, Status, TraceId};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Batches, OTelSdkResult, Settings, SpanData, SpanExporter, Traces};

/// A collector: it has a place for as many batches as it was told to take, and can be out of order.
#[derive(Clone)]
struct Collector {
    batches: Arc<Mutex<Vec<Vec<SpanData>>>>,
    places: Arc<Semaphore>,
    is_broken: Arc<Mutex<bool>>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.places.acquire().await.unwrap().forget();
        if *self.is_broken.lock().unwrap() {
            return Err(OTelSdkError::InternalFailure("broken".to_owned()));
        }
        self.batches.lock().unwrap().push(batch);
        Ok(())
    }
}

impl Collector {
    fn new(places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { batches: Arc::default(), places, is_broken: Arc::default() }
    }

    /// The sizes of the batches that it got.
    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().unwrap().iter().map(Vec::len).collect()
    }
}

fn traces(collector: &Collector) -> Traces {
    let batches = Batches { delay: Duration::from_secs(5), queue: 10, size: 4 };
    let settings = Settings { batches, ..Settings::new("http://collector:4317".parse().unwrap()) };
    Traces::new(&settings, collector.clone())
}

fn span(id: u8) -> Span {
    Span {
        part: Part::Run,
        trace: TraceId::new([1; 16]).unwrap(),
        id: SpanId::new([id; 8]).unwrap(),
        parent: None,
        is_parent_remote: false,
        state: String::new(),
        name: "run".to_owned(),
        kind: Kind::Internal,
        start: Timestamp::UNIX_EPOCH,
        end: Timestamp::UNIX_EPOCH,
        attributes: Vec::new(),
        events: Vec::new(),
        status: Status::Unset,
    }
}

#[tokio::test(start_paused = true)]
async fn spans_go_in_batches_and_wait_for_each_other_for_a_while() {
    let collector = Collector::new(100);
    let traces = traces(&collector);
    let outlet = traces.outlet().clone();
    let _open = traces.open([]);
    outlet.give((1..=6).map(span));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(collector.sizes(), [4], "a full batch goes at once");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(collector.sizes(), [4, 2], "the rest goes after the delay");
    assert_eq!((outlet.tally().exported(), outlet.tally().dropped(), outlet.tally().failed()), (6, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_hangs_holds_up_nobody_and_what_is_lost_is_counted() {
    let collector = Collector::new(0);
    let traces = traces(&collector);
    let outlet = traces.outlet().clone();
    let open = traces.open([]);
    let begun = Instant::now();
    for id in 1..=100 {
        outlet.give([span(id)]);
        tokio::task::yield_now().await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "handing in takes no time");
    assert_eq!(outlet.tally().dropped(), 100 - 4 - 10, "one batch is on its way, one queue is full");
    open.close(Instant::now() + Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(3), "no longer than the deadline");
    assert_eq!(outlet.tally().failed(), 14);
    outlet.give([span(101)]);
    assert_eq!(outlet.tally().dropped(), 87, "what comes after the end is dropped, too");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_at_the_end_is_sent() {
    let collector = Collector::new(100);
    let traces = traces(&collector);
    let outlet = traces.outlet().clone();
    let open = traces.open([]);
    outlet.give((1..=9).map(span));
    let begun = Instant::now();
    open.close(begun + Duration::from_secs(30)).await;
    assert_eq!((collector.sizes(), begun.elapsed()), (vec![4, 4, 1], Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn what_a_broken_collector_does_not_take_is_counted_and_later_spans_arrive() {
    let collector = Collector::new(100);
    let traces = traces(&collector);
    let outlet = traces.outlet().clone();
    let _open = traces.open([]);
    *collector.is_broken.lock().unwrap() = true;
    for id in 1..=3 {
        outlet.give([span(id)]);
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    *collector.is_broken.lock().unwrap() = false;
    outlet.give([span(4)]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!((outlet.tally().failed(), outlet.tally().exported()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn spans_of_the_process_itself_go_the_same_way() {
    let collector = Collector::new(100);
    let traces = traces(&collector);
    let provider = traces.outlet().provider();
    let open = traces.open([("service.name", "ci".to_owned())]);
    provider.tracer("test").in_span("connect", |_| {});
    open.close(Instant::now() + Duration::from_secs(1)).await;
    let batches = collector.batches.lock().unwrap();
    assert_eq!(batches[0][0].name, "connect");
}
