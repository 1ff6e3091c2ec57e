//! Certificates that are exchanged while the server runs.
//!
//! The files are looked at now and then, and what stands in them is compared: the names under which Kubernetes and
//! others exchange files don't change, and their times needn't. What changed is taken only when two looks in a row saw
//! the same, as the files of a pair are not written in one moment; and only if it can be used. New connections get the
//! new certificate; open ones stay as they are.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::files::{Contents, Credentials, TlsError, TlsFiles};
use crate::clock::Clock;

#[cfg(test)]
mod tests;

/// Time between two looks at the files.
const PERIOD: Duration = Duration::from_secs(5);

/// A server's certificates, which follow their files while it serves.
#[derive(Debug)]
pub struct Tls {
    judge: Judge,
    clock: Clock,
    period: Duration,
    current: watch::Sender<Arc<ServerConfig>>,
}

/// Decides what becomes of what stands in the files.
#[derive(Debug)]
struct Judge {
    files: TlsFiles,
    in_use: Credentials,
    /// What the last look saw.
    seen: Result<Contents, TlsError>,
    /// Whether that was decided about.
    is_judged: bool,
    /// Whether it was said that the certificate in use is out of its time.
    is_lamented: bool,
}

/// What people have to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// What stands in the files is in use from now on.
    Taken,
    /// What stands in the files can't be used; what was in use before still is.
    Kept(TlsError),
    /// What is in use can't be used at this time, and there is nothing better.
    Useless(TlsError),
}

impl Tls {
    /// Reads the files; they are looked at again every few seconds while the server serves. It blocks.
    ///
    /// A certificate that is expired, or not valid yet, is taken and complained about: the server has other things to
    /// do than to be connected to, and the next certificate may be on its way.
    ///
    /// # Errors
    /// If a file can't be used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let clock = Clock::start();
        let seen = files.read()?;
        let in_use = files.credentials(&seen)?;
        let current = watch::Sender::new(Arc::clone(&in_use.config));
        let mut judge = Judge { files, in_use, seen: Ok(seen), is_judged: true, is_lamented: false };
        if let Some(news) = judge.lament(clock.now().time) {
            tell(&judge.files, &news);
        }
        Ok(Self { judge, clock, period: PERIOD, current })
    }

    /// Looks at the files this often instead; more than zero.
    #[must_use]
    pub fn checked_every(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// What is in use.
    pub(super) fn current(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.current.subscribe()
    }

    /// Follows the files. Never returns.
    pub(super) async fn follow(mut self) {
        let mut period = interval(self.period);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            period.tick().await;
            let files = self.judge.files.clone();
            // It fails only if the runtime ends.
            let Ok(found) = tokio::task::spawn_blocking(move || files.read()).await else { continue };
            if let Some(news) = self.judge.look(found, self.clock.now().time) {
                tell(&self.judge.files, &news);
                if news == News::Taken {
                    self.current.send_replace(Arc::clone(&self.judge.in_use.config));
                }
            }
        }
    }
}

impl Judge {
    fn look(&mut self, found: Result<Contents, TlsError>, now: Timestamp) -> Option<News> {
        if found != self.seen {
            self.seen = found;
            self.is_judged = false;
        } else if !self.is_judged {
            self.is_judged = true;
            return Some(self.judge(now));
        }
        self.lament(now)
    }

    fn judge(&mut self, now: Timestamp) -> News {
        let credentials = match &self.seen {
            Ok(contents) => self.files.credentials(contents),
            Err(error) => Err(error.clone()),
        };
        match credentials {
            Err(error) => News::Kept(error),
            Ok(new) => match self.files.out_of_time(&new, now) {
                Some(error) => News::Kept(error),
                None => {
                    self.in_use = new;
                    self.is_lamented = false;
                    News::Taken
                }
            },
        }
    }

    /// Says, once, that what is in use can't be used now.
    fn lament(&mut self, now: Timestamp) -> Option<News> {
        let problem = self.files.out_of_time(&self.in_use, now);
        let is_news = problem.is_some() && !self.is_lamented;
        self.is_lamented = problem.is_some();
        problem.filter(|_| is_news).map(News::Useless)
    }
}

fn tell(files: &TlsFiles, news: &News) {
    let certificate = files.certificate.display();
    match news {
        News::Taken => tracing::info!(%certificate, "took the new certificate; open connections stay as they are"),
        News::Kept(error) => {
            tracing::error!(%certificate, "{error}; the certificates that were in use before still are");
        }
        News::Useless(error) => {
            tracing::error!(%certificate, "{error}; nobody who checks it will connect until it is exchanged");
        }
    }
}
