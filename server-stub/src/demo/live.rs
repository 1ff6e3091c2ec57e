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
    colour: bool,
    colours: HashMap<String, u8>,
}

impl<'a, W: Write> Printer<'a, W> {
    pub(super) fn new(out: &'a mut W, colour: bool) -> Self {
        Self { out, colour, colours: HashMap::new() }
    }

    fn line(&mut self, prefix: &str, bytes: &[u8]) -> io::Result<()> {
        if self.colour {
            let next = COLOURS[self.colours.len() % COLOURS.len()];
            let colour = *self.colours.entry(prefix.to_owned()).or_insert(next);
            write!(self.out, "\x1b[{colour}m{prefix}\x1b[0m | ")?;
        } else {
            write!(self.out, "{prefix} | ")?;
        }
        // A carriage return would overwrite the prefix: what a terminal would show at last is shown.
        let shown = bytes.rsplit(|&byte| byte == b'\r').find(|part| !part.is_empty()).unwrap_or_default();
        self.out.write_all(shown)?;
        self.out.write_all(b"\n")
    }
}

/// Prints every line of every workflow, until all are over.
pub(super) async fn follow<W: Write>(server: &Server, plan: &Plan, printer: &mut Printer<'_, W>) -> io::Result<()> {
    let (found, mut lines) = mpsc::channel(WAITING);
    let mut followers = JoinSet::new();
    let several = plan.workflows.len() > 1;
    for planned in &plan.workflows {
        let submission = &planned.submission;
        let title = if several { format!("{}/", submission.spec.name) } else { String::new() };
        let Ok(mut follow) = server.follow(submission.id.as_str(), None, 0, true) else { continue };
        let found = found.clone();
        followers.spawn(async move {
            while let Some(news) = follow.next().await {
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
        printer.line(&prefix, &bytes)?;
        if lines.is_empty() {
            printer.out.flush()?;
        }
    }
    while followers.join_next().await.is_some() {}
    Ok(())
}
