//! Logs as they come, each line with the step that it is of.

use std::collections::HashMap;
use std::io::{self, Write};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::follow::News;
use crate::server::Server;
use crate::submission::Plan;

/// Colours that read well on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// Lines that wait to be printed. More make the followers wait, not the agent.
const WAITING: usize = 1000;

/// Where lines go.
#[derive(Debug)]
pub(super) struct Printer<'a, W> {
    out: &'a mut W,
    is_terminal: bool,
    colour: bool,
    colours: HashMap<String, u8>,
    /// Why nothing more is printed.
    closed: Option<io::Error>,
}

impl<'a, W: Write> Printer<'a, W> {
    pub(super) fn new(out: &'a mut W, is_terminal: bool, colour: bool) -> Self {
        Self { out, is_terminal, colour, colours: HashMap::new(), closed: None }
    }

    /// The error that ended the printing, if one did.
    pub(super) fn closed(self) -> Option<io::Error> {
        self.closed
    }

    /// Prints a line. The workflows go on if that can't be done: how they end still counts.
    fn print(&mut self, prefix: &str, bytes: &[u8], is_last: bool) {
        if self.closed.is_none() {
            let written = self.line(prefix, bytes).and_then(|()| if is_last { self.out.flush() } else { Ok(()) });
            self.closed = written.err();
        }
    }

    fn line(&mut self, prefix: &str, bytes: &[u8]) -> io::Result<()> {
        if self.colour {
            let next = COLOURS[self.colours.len() % COLOURS.len()];
            let colour = *self.colours.entry(prefix.to_owned()).or_insert(next);
            write!(self.out, "\x1b[{colour}m{prefix}\x1b[0m | ")?;
        } else {
            write!(self.out, "{prefix} | ")?;
        }
        // On a terminal a carriage return would overwrite the prefix: what it would show at last is shown.
        let mut parts = bytes.rsplit(|&byte| byte == b'\r');
        let mut last = || parts.find(|part| !part.is_empty()).unwrap_or_default();
        self.out.write_all(if self.is_terminal { last() } else { bytes })?;
        self.out.write_all(b"\n")
    }
}

/// Prints every line of every workflow, until all are over.
pub(super) async fn follow<W: Write>(server: &Server, plan: &Plan, printer: &mut Printer<'_, W>) {
    let (found, mut lines) = mpsc::channel(WAITING);
    let mut followers = JoinSet::new();
    let several = plan.workflows.len() > 1;
    for planned in &plan.workflows {
        let submission = &planned.submission;
        let title = if several { format!("{}/", submission.spec.name) } else { String::new() };
        let Ok(mut follow) = server.follow(submission.id.as_str(), None, 0, true) else { continue };
        let found = found.clone();
        followers.spawn(async move {
            while let Ok(Some(news)) = follow.next().await {
                if let News::Line { step, line } = news
                    && found.send((format!("{title}{step}"), line.bytes)).await.is_err()
                {
                    // Nobody prints any more; the workflow still has to be waited for.
                    continue;
                }
            }
        });
    }
    drop(found);
    while let Some((prefix, bytes)) = lines.recv().await {
        printer.print(&prefix, &bytes, lines.is_empty());
    }
    while followers.join_next().await.is_some() {}
}
