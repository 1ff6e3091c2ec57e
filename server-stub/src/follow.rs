//! What happens in a workflow, as it happens: lines, states, the end.

use std::collections::{BTreeMap, VecDeque};

use piculet_core::id::{StepId, WorkflowId};
use piculet_core::outcome::StepState;
use piculet_core::report::LogLine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Workflow;
use crate::ledger::StepRecord;
use crate::server::Server;
use crate::view::{LookupError, StepView, WorkflowView, find};

/// How many lines of a step are fetched at once.
const PAGE_LINES: usize = 500;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A step printed a line.
    Line {
        /// The step's name.
        step: String,
        /// The line.
        line: LogLine,
    },
    /// A step changed its state. That it ended comes after its last line.
    Step(StepView),
    /// The workflow is over. The last.
    End(Box<WorkflowView>),
}

/// Follows one workflow from its beginning, or from a line of one of its steps.
#[derive(Debug)]
pub struct Follow {
    server: Server,
    workflow: WorkflowId,
    only: Option<StepId>,
    waits: bool,
    changes: watch::Receiver<()>,
    going: CancellationToken,
    cursors: BTreeMap<StepId, Cursor>,
    news: VecDeque<News>,
    is_over: bool,
}

/// What was told of a step.
#[derive(Debug, Default)]
struct Cursor {
    next_line: u64,
    told: Option<(StepState, u32)>,
}

impl Server {
    /// Follows a workflow, named as in [`Server::workflow`], or one of its steps, named by id or name. `waits`: goes on
    /// until it is over; else tells what is known and ends.
    ///
    /// # Errors
    /// If there is no such workflow or step.
    pub fn follow(&self, workflow: &str, step: Option<&str>, from: u64, waits: bool) -> Result<Follow, LookupError> {
        let (workflow, only) = self.look(|dispatcher| {
            let workflow = find(dispatcher, workflow)?;
            let Some(name) = step else { return Ok((workflow.id.clone(), None)) };
            match workflow.ledger.step(name) {
                Some(step) => Ok((workflow.id.clone(), Some(step.id.clone()))),
                None => Err(LookupError::NoStep { workflow: workflow.name.clone(), step: name.to_owned() }),
            }
        })?;
        let cursors = only.iter().map(|id| (id.clone(), Cursor { next_line: from, told: None })).collect();
        Ok(Follow {
            changes: self.changes(&workflow),
            going: self.going().clone(),
            server: self.clone(),
            workflow,
            only,
            waits,
            cursors,
            news: VecDeque::new(),
            is_over: false,
        })
    }
}

impl Follow {
    /// What happened next; `None` when there is nothing more to tell.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(news);
            }
            if self.is_over {
                return None;
            }
            self.changes.mark_unchanged();
            self.fetch();
            if self.news.is_empty() && !self.is_over {
                if !self.waits {
                    return None;
                }
                tokio::select! {
                    () = self.going.cancelled() => return None,
                    changed = self.changes.changed() => changed.ok()?,
                }
            }
        }
    }

    /// What happened next, if it was fetched already.
    pub fn ready(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Collects some of what is new.
    fn fetch(&mut self) {
        let Self { server, workflow, only, cursors, news, is_over, .. } = self;
        server.look(|dispatcher| {
            let Some(workflow) = dispatcher.workflow(workflow) else {
                *is_over = true;
                return;
            };
            let mut all_told = true;
            for step in workflow.ledger.steps() {
                if only.as_ref().is_none_or(|only| *only == step.id) {
                    let cursor = cursors.entry(step.id.clone()).or_default();
                    all_told &= tell(workflow, step, cursor, news);
                }
            }
            if workflow.end.is_some() && all_told {
                news.push_back(News::End(Box::new(WorkflowView::of(dispatcher, workflow))));
                *is_over = true;
            } else if only.is_some() && all_told && news.is_empty() {
                *is_over = cursors.values().all(|cursor| cursor.told.is_some_and(|(state, _)| state.is_final()));
            }
        });
    }
}

/// Tells some of what is new of a step. True if nothing is left to tell now.
fn tell(workflow: &Workflow, step: &StepRecord, cursor: &mut Cursor, news: &mut VecDeque<News>) -> bool {
    let state = (step.state, step.attempt.0);
    let page = step.log.page(cursor.next_line, PAGE_LINES);
    let has_more = page.lines.len() == PAGE_LINES;
    let is_over = workflow.end.is_some();
    let is_news = cursor.told != Some(state);
    // A start is told before the first line, an end after the last.
    let tells_now = is_news && !step.state.is_final();
    if tells_now {
        news.push_back(News::Step(StepView::of(step, is_over)));
        cursor.told = Some(state);
    }
    cursor.next_line = page.next;
    news.extend(page.lines.into_iter().map(|line| News::Line { step: step.name.clone(), line }));
    let has_log = !matches!(step.state, StepState::Skipped | StepState::Canceled);
    let log_is_over = page.is_last || is_over || !has_log;
    if is_news && !tells_now && log_is_over && !has_more {
        news.push_back(News::Step(StepView::of(step, is_over)));
        cursor.told = Some(state);
    }
    !has_more
}
