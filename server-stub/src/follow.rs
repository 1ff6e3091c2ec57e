//! What happens in a workflow, as it happens: lines, states, the end.

use std::collections::{BTreeMap, VecDeque};

use piculet_core::id::{StepId, WorkflowId};
use piculet_core::outcome::StepState;
use piculet_core::report::LogLine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Workflow;
use crate::ledger::StepRecord;
use crate::server::{STORE_PATIENCE, Server};
use crate::store::{LogPlace, Page, StoreError};
use crate::view::{LookupError, StepView, WorkflowView, find};

/// How many lines of a step are fetched at once.
const PAGE_LINES: usize = 500;
/// How many bytes of memory the lines of all steps take that are fetched at once, about.
const PAGE_BYTES: usize = 1024 * 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The workflow began from nothing: what was told of its steps before is of a round that is gone. Comes first in
    /// each round but the first.
    Anew {
        /// Counts the rounds from 1.
        round: u64,
    },
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

/// Why not all could be told.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A log can't be read.
    #[error(transparent)]
    Log(#[from] StoreError),
    /// Who doesn't follow waited for the store, and it took too long.
    #[error("what happened last is not stored yet, and is told when it is; the server tries again and again")]
    NotStored,
    /// The server has it no more.
    #[error("the workflow was forgotten before all of it was told; those that ended first make room for others")]
    Forgotten,
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
    /// The round that the cursors are about; `None`: whichever there is.
    round: Option<u64>,
    cursors: BTreeMap<StepId, Cursor>,
    news: VecDeque<News>,
    /// The place of the step that is fetched first the next time: of many with much to tell each has its turn.
    turn: usize,
    is_over: bool,
}

/// What came of a look.
enum Fetched {
    /// What there is to tell, if anything.
    News,
    /// Nothing: the workflow began anew meanwhile.
    OfAnotherRound,
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
            round: None,
            cursors,
            news: VecDeque::new(),
            turn: 0,
            is_over: false,
        })
    }
}

impl Follow {
    /// What happened next; `None` when there is nothing more to tell.
    ///
    /// # Errors
    /// If a log can't be read, if the workflow is forgotten meanwhile, or, for who doesn't follow, if the store doesn't take
    /// what is to be told. What was told so far is not the whole then.
    pub async fn next(&mut self) -> Result<Option<News>, FollowError> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Ok(Some(news));
            }
            if self.is_over {
                return Ok(None);
            }
            self.changes.mark_unchanged();
            match self.fetch().await {
                Ok(Fetched::News) => {}
                Ok(Fetched::OfAnotherRound) => continue,
                Err(error) => {
                    tracing::error!(workflow = %self.workflow, %error, "a log could not be told to its end");
                    self.is_over = true;
                    return Err(error);
                }
            }
            if self.news.is_empty() && !self.is_over {
                if !self.waits {
                    return Ok(None);
                }
                tokio::select! {
                    biased;
                    () = self.going.cancelled() => return Ok(None),
                    changed = self.changes.changed() => if changed.is_err() {
                        return Ok(None);
                    },
                }
            }
        }
    }

    /// Goes on in this round of the workflow, in these steps' logs from these lines on. If the round is gone, the one
    /// that there is is told from its beginning.
    pub fn resume<'a>(&mut self, round: u64, lines: impl IntoIterator<Item = (&'a str, u64)>) {
        self.round = Some(round);
        for (step, next_line) in lines {
            self.cursors.entry(StepId::new(step)).or_default().next_line = next_line;
        }
    }

    /// What happened next, if it was fetched already.
    pub fn ready(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Collects some of what is new: a page, whatever the number of steps.
    async fn fetch(&mut self) -> Result<Fetched, FollowError> {
        let Self { server, workflow, only, round, cursors, news, turn, is_over, waits, .. } = self;
        let glimpse = server.look(|dispatcher| {
            let workflow = dispatcher.workflow(workflow)?;
            let current = workflow.ledger.round();
            if round.is_some_and(|round| round != current) {
                cursors.clear();
            }
            let is_new = round.replace(current).unwrap_or(1) != current;
            let steps = workflow.ledger.steps().iter().enumerate();
            let wanted = steps.filter(|(_, step)| only.as_ref().is_none_or(|only| *only == step.id));
            let steps = wanted.filter_map(|(position, step)| {
                let cursor = cursors.entry(step.id.clone()).or_default();
                StepGlimpse::of(workflow, position, step, cursor)
            });
            let steps: Vec<_> = steps.collect();
            let end = workflow.end.is_some().then(|| Box::new(WorkflowView::of(dispatcher, workflow)));
            Some((is_new.then_some(current), steps, end))
        });
        let (began, mut steps, end) = glimpse.ok_or(FollowError::Forgotten)?;
        // Lines come from the store; states don't, and are told when they are there, too.
        if (began.is_some() || end.is_some() || steps.iter().any(|step| step.news.is_some()))
            && !settled(server, workflow, *waits).await
        {
            if !*waits {
                return Err(FollowError::NotStored);
            }
            *is_over = true;
            return Ok(Fetched::News);
        }
        news.extend(began.map(|round| News::Anew { round }));
        let mut all_told = true;
        let mut room = PAGE_BYTES;
        let first = steps.partition_point(|step| step.place.step < *turn);
        steps.rotate_left(first);
        for step in steps {
            if room == 0 {
                *turn = step.place.step;
                all_told = false;
                break;
            }
            let cursor = cursors.entry(step.id.clone()).or_default();
            all_told &= step.tell(server, cursor, news, &mut room).await?;
        }
        let now = server.round_of(workflow);
        if now != *round {
            // The lines may be of either round, or a part of what is being deleted.
            news.clear();
            return now.map(|_| Fetched::OfAnotherRound).ok_or(FollowError::Forgotten);
        }
        match end {
            Some(end) if all_told => {
                news.push_back(News::End(end));
                *is_over = true;
            }
            None if only.is_some() && all_told && news.is_empty() => {
                *is_over = cursors.values().all(|cursor| cursor.told.is_some_and(|(state, _)| state.is_final()));
            }
            _ => {}
        }
        Ok(Fetched::News)
    }
}

/// Waits until what was seen of a workflow is stored. False if the server goes before that, or if it takes longer than
/// somebody waits who doesn't follow.
async fn settled(server: &Server, workflow: &WorkflowId, waits: bool) -> bool {
    tokio::select! {
        biased;
        () = server.settled_for(workflow) => true,
        () = server.going().cancelled() => false,
        () = tokio::time::sleep(STORE_PATIENCE), if !waits => false,
    }
}

/// What was new of a step when it was looked at.
struct StepGlimpse {
    id: StepId,
    name: String,
    place: LogPlace,
    /// One more than the highest number of a line that is there.
    until: u64,
    /// No more lines come.
    log_is_over: bool,
    /// Its state, if that is news.
    news: Option<StepView>,
    state: (StepState, u32),
}

impl StepGlimpse {
    /// `None` if nothing is new.
    fn of(workflow: &Workflow, position: usize, step: &StepRecord, cursor: &Cursor) -> Option<Self> {
        let state = (step.state, step.attempt.0);
        let (is_news, until) = (cursor.told != Some(state), step.log.kept_until());
        let is_over = workflow.end.is_some();
        (is_news || cursor.next_line < until).then(|| Self {
            id: step.id.clone(),
            name: step.name.clone(),
            place: LogPlace { workflow: workflow.number, step: position },
            until,
            log_is_over: is_over
                || step.log.end().is_some()
                || matches!(step.state, StepState::Skipped | StepState::Canceled),
            news: is_news.then(|| StepView::of(step, is_over)),
            state,
        })
    }

    /// Tells some of what is new, as long as there is room, in bytes, for lines. True if nothing is left to tell of what
    /// there was.
    async fn tell(
        self,
        server: &Server,
        cursor: &mut Cursor,
        news: &mut VecDeque<News>,
        room: &mut usize,
    ) -> Result<bool, StoreError> {
        let mut state = self.news;
        // A start is told before the first line, an end after the last.
        if let Some(start) = state.take_if(|view| !view.state.is_final()) {
            news.push_back(News::Step(start));
            cursor.told = Some(self.state);
        }
        if cursor.next_line < self.until {
            let page = Page { from: cursor.next_line, lines: PAGE_LINES, bytes: *room };
            let lines = server.store().lines(self.place, page).await?;
            // What is around a line counts, too: many lines are short.
            let size = lines.iter().map(|line| line.bytes.len() + size_of::<News>()).sum();
            *room = room.saturating_sub(size);
            cursor.next_line = lines.last().map_or(cursor.next_line, |line| line.number + 1);
            news.extend(lines.into_iter().map(|line| News::Line { step: self.name.clone(), line }));
        }
        // What is not stored yet is told when it is.
        let all_lines = cursor.next_line >= self.until;
        if let Some(end) = state.filter(|_| all_lines && self.log_is_over) {
            news.push_back(News::Step(end));
            cursor.told = Some(self.state);
        }
        Ok(all_lines)
    }
}
