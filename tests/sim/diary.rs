//! Everything that the programs say about themselves, with the simulated time.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The log of a simulation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diary {
    text: Arc<Mutex<Vec<u8>>>,
}

impl Diary {
    /// Keeps the log of this thread until the guard is dropped.
    pub(crate) fn keep(&self) -> DefaultGuard {
        let filter = EnvFilter::try_from_env("PICULET_SIM_LOG");
        let ours = "piculet=info,piculet_link=info,piculet_cluster=info,server_stub=info";
        let filter = filter.unwrap_or_else(|_| EnvFilter::new(ours));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(self.clone())
            .with_ansi(false)
            .with_timer(Time);
        tracing::subscriber::set_default(subscriber.finish())
    }

    /// Writes down what the simulation itself did.
    pub(crate) fn note(&self, text: &str) {
        let time = turmoil_time();
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(format!("{time}  SIM {text}\n").as_bytes());
    }

    /// All of it, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).lines().map(ToOwned::to_owned).collect()
    }
}

fn turmoil_time() -> String {
    let time = if turmoil::in_simulation() { turmoil::sim_elapsed() } else { None };
    format!("{:10.3}", time.unwrap_or_default().as_secs_f64())
}

struct Time;

impl FormatTime for Time {
    fn format_time(&self, into: &mut Writer<'_>) -> fmt::Result {
        into.write_str(&turmoil_time())
    }
}

impl<'a> MakeWriter<'a> for Diary {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Diary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
