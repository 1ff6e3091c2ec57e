//! What was written anywhere, and whether a secret is in it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use piculet_link::otlp::{OTelSdkResult, Settings, SpanData, SpanExporter, Traces, Wanted};
use tracing::dispatcher::DefaultGuard;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was written, by where.
#[derive(Debug, Clone, Default)]
pub(super) struct Found(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Found {
    /// Adds what was written there.
    pub(super) fn add(&self, source: &str, bytes: &[u8]) {
        let mut all = self.0.lock().unwrap();
        let of_source = all.entry(source.to_owned()).or_default();
        of_source.extend_from_slice(bytes);
        of_source.push(b'\n');
    }

    pub(super) fn bytes_of(&self, source: &str) -> usize {
        self.0.lock().unwrap().get(source).map_or(0, Vec::len)
    }

    /// Each secret that stands somewhere, plain or encoded as base64, with the text around it.
    pub(super) fn leaks(&self, secrets: &[&str]) -> Vec<String> {
        let mut leaks = Vec::new();
        for (source, bytes) in self.0.lock().unwrap().iter() {
            for secret in secrets {
                if let Some(at) = forms(secret).iter().find_map(|form| position(bytes, form.as_bytes())) {
                    let around = &bytes[at.saturating_sub(120)..(at + 80).min(bytes.len())];
                    leaks.push(format!("{secret} in {source}: {:?}", String::from_utf8_lossy(around)));
                }
            }
        }
        leaks
    }

    /// From now on, and as long as what is returned, all that is logged on this thread is added, at every level and of every crate.
    pub(super) fn log_of_this_thread(&self) -> impl Sized {
        let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false);
        let subscriber = subscriber.with_writer(Lines(self.clone())).finish();
        // As long as there is one dispatcher, tracing asks whatever thread comes to an event first whether anybody wants it,
        // and the threads of other tests don't.
        let another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let guard: DefaultGuard = tracing::subscriber::set_default(subscriber);
        (guard, another)
    }
}

#[derive(Debug)]
struct Lines(Found);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self(self.0.clone())
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.add("the log at trace", bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Spans, as they would leave.
#[derive(Clone, Default)]
pub(super) struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl Exported {
    pub(super) fn spans(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exported")
    }
}

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// A collector in memory, and what it gets.
pub(super) fn memory() -> (Traces, Exported) {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://memory:4317"), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
    let Ok(Wanted::On(settings)) = Settings::read(variables) else { panic!("a collector is named") };
    let exported = Exported::default();
    (Traces::new(&settings, exported.clone()), exported)
}

/// The text as it is, and what of its encoding doesn't depend on its neighbours, at each of the three places that it can have.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    for before in 0..3 {
        let encoded = base64(&[vec![0; before], secret.as_bytes().to_vec()].concat());
        let (first, last) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
        forms.push(encoded.chars().take(last).skip(first).collect());
    }
    forms
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Whether the text stands there as it is.
pub(super) fn has(bytes: &[u8], text: &str) -> bool {
    position(bytes, text.as_bytes()).is_some()
}

fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
