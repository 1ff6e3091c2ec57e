//! What happens in a workflow or a step, as server-sent events.
//!
//! An event's `id` says how far its reader has come ([`Position`]), so that one who connects again with it goes on
//! without loss or repeat. Everything is pulled: a reader that is slow makes nobody wait, and costs one page of lines.

mod position;

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use jiff::Timestamp;
use piculet_core::id::WorkflowId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};

use self::position::Position;
use super::error::{ApiError, Refused};
use super::logs::{AnewView, EndView, LineView};
use super::schema::{StepName, WorkflowName};
use crate::dispatch::State as WorkflowState;
use crate::follow::{FollowError, News};
use crate::server::Server;
use crate::view::{LookupError, PlaceView, StepView, WorkflowView};

/// How often a quiet stream says that it lives.
const PING: Duration = Duration::from_secs(15);
/// A workflow is looked at this often at most, however much is printed.
const LOOK_AT_MOST: Duration = Duration::from_millis(250);
/// A workflow that waits is looked at this often at least: why it waits depends on others too.
const LOOK_AT_LEAST: Duration = Duration::from_secs(2);
/// The header with which a browser says what it has seen.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Where a workflow stands: the data of the event `workflow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// In Woodpecker's words.
    pub state: WorkflowState,
    /// Where it is.
    pub place: PlaceView,
    /// Grows with each assignment; the first is 1.
    pub epoch: u64,
    /// The name of the agent that has or had it.
    pub agent: Option<String>,
    /// When its first step started, by the node's clock.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What went wrong apart from the steps; empty if nothing did.
    pub error: String,
    /// Why it waits, as in `WorkflowView`.
    pub waiting: Vec<String>,
    /// Why somebody wants it stopped; empty if nobody does.
    pub stopping: String,
}

/// Which events of a workflow are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// `false`: without what the steps print.
    #[serde(default = "yes")]
    lines: bool,
}

/// From where the events of a step are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    /// The first line; a step's first is 0. What `last-event-id` says wins.
    #[serde(default)]
    from: u64,
    /// The `round` of the workflow in which that line is counted: the current one unless told. If there is another one
    /// meanwhile, it is told from its beginning, after an `anew`.
    #[serde(default)]
    round: Option<u64>,
}

/// What a stream is made of.
#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, and most are lines: a box for each would cost more"
)]
enum Source {
    /// A line, a step's state, the workflow's end.
    News(News),
    /// A look at the whole.
    Look(Box<WorkflowView>),
}

/// What a stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    /// A workflow with all that is printed.
    Whole,
    /// A workflow without that: the states of steps come from looks.
    States,
    /// A step.
    Step,
}

/// Turns what happened into events.
struct Teller {
    position: Position,
    tells: Tells,
    standing: Option<StandingView>,
    is_over: bool,
}

fn yes() -> bool {
    true
}

impl StandingView {
    fn of(workflow: &WorkflowView) -> Self {
        Self {
            state: workflow.state,
            place: workflow.place,
            epoch: workflow.epoch,
            agent: workflow.agent.clone(),
            started: workflow.started,
            finished: workflow.finished,
            error: workflow.error.clone(),
            waiting: workflow.waiting.clone(),
            stopping: workflow.stopping.clone(),
        }
    }
}

/// What happens in a workflow, as server-sent events until it is over.
///
/// `line` (`LineView`): a step printed a line. `step` (`StepView`): a step changed its state; that it ended comes after
/// its last line. `workflow` (`StandingView`): comes first on each connection, and whenever it changed. `anew`
/// (`AnewView`): it begins from nothing, since its cluster was given up; what was told of its steps before doesn't count.
/// `end` (`EndView`): the last. Each has an `id`; a call with it in `last-event-id` goes on from there, and one with an
/// id that makes no sense from the beginning.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}/events", tag = "events",
    params(WorkflowName, Wanted, ("last-event-id" = Option<String>, Header, description = "The `id` of the last event seen")),
    responses(
        (status = 200, description = "Events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "After `end` there is nothing more, unless the workflow began anew"),
        Refused,
    ),
)]
pub(super) async fn of_workflow(
    State(server): State<Server>,
    Path(workflow): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(Wanted { lines }) = wanted?;
    let workflow = server.workflow(&workflow)?;
    let Some(position) = position(&headers, &workflow, None) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let id = WorkflowId::new(workflow.id.as_str());
    let looks = looks(server.clone(), id).boxed();
    let source = if lines {
        let mut follow = server.follow(&workflow.id, None, 0, true)?;
        follow.resume(position.round(), position.lines());
        let news = stream::try_unfold(follow, |mut follow| async move {
            Ok(follow.next().await?.map(|news| (Source::News(news), follow)))
        });
        // The first look comes first: a reader knows where the workflow stands.
        stream::select(looks, news).boxed()
    } else {
        looks
    };
    let tells = if lines { Tells::Whole } else { Tells::States };
    Ok(answer(&server, source, Teller::new(position, tells)))
}

/// What happens in a step, as server-sent events until it is over.
///
/// `line` (`LineView`), `step` (`StepView`), `anew` (`AnewView`) and `end` (`EndView`; the workflow may go on), with ids as
/// above.
#[utoipa::path(
    get, path = "/api/workflows/{workflow}/steps/{step}/events", tag = "events",
    params(StepName, From, ("last-event-id" = Option<String>, Header, description = "The `id` of the last event seen")),
    responses(
        (status = 200, description = "Events", body = String, content_type = "text/event-stream"),
        (status = 204, description = "After `end` there is nothing more, unless the workflow began anew"),
        Refused,
    ),
)]
pub(super) async fn of_step(
    State(server): State<Server>,
    Path((workflow, step)): Path<(String, String)>,
    from: Result<Query<From>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(From { from, round }) = from?;
    let workflow = server.workflow(&workflow)?;
    let find = |step: &String| workflow.steps.iter().find(|other| other.id == *step || other.name == *step);
    let step = match find(&step) {
        Some(step) => step.id.clone(),
        None => return Err(LookupError::NoStep { workflow: workflow.name, step }.into()),
    };
    let Some(mut position) = position(&headers, &workflow, round) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    // Who says its last event may have gone on into another round, where `from` means nothing.
    let from = if round.is_none_or(|round| round == position.round()) { from } else { 0 };
    let from = position.begin(&step, from);
    let mut follow = server.follow(&workflow.id, Some(&step), 0, true)?;
    follow.resume(position.round(), [(step.as_str(), from)]);
    let (id, views) = (workflow.id, server.clone());
    let source = stream::try_unfold(Some(follow), move |follow| {
        let (id, views) = (id.clone(), views.clone());
        async move {
            let Some(mut follow) = follow else { return Ok(None) };
            if let Some(news) = follow.next().await? {
                return Ok(Some((Source::News(news), Some(follow))));
            }
            // The step is over, or the server goes: then the reader shall come again.
            let view = views.workflow(&id).ok().filter(|_| !views.going().is_cancelled());
            let Some(view) = view else { return Ok(None) };
            views.settled_for(&WorkflowId::new(id)).await;
            Ok(Some((Source::News(News::End(Box::new(view))), None)))
        }
    });
    Ok(answer(&server, source.boxed(), Teller::new(position, Tells::Step)))
}

/// Looks at a workflow whenever it may look different, until it is over.
fn looks(server: Server, id: WorkflowId) -> impl Stream<Item = Result<Source, FollowError>> {
    let changes = server.changes(&id);
    stream::unfold(Some((server, id, changes, None)), |looking| async move {
        let (server, id, mut changes, last) = looking?;
        if let Some(place) = last {
            wait(&mut changes, place).await?;
        }
        changes.mark_unchanged();
        let view = server.workflow(id.as_str()).ok()?;
        server.settled_for(&id).await;
        let goes_on = (!view.state.is_final()).then_some((server, id, changes, Some(view.place)));
        Some((Ok(Source::Look(Box::new(view))), goes_on))
    })
}

/// Waits until a workflow is worth another look; `None` if it is forgotten.
async fn wait(changes: &mut watch::Receiver<()>, place: PlaceView) -> Option<()> {
    let others_matter = matches!(place, PlaceView::Pending);
    tokio::select! {
        biased;
        changed = changes.changed() => changed.ok()?,
        () = tokio::time::sleep(LOOK_AT_LEAST), if others_matter => return Some(()),
    }
    tokio::time::sleep(LOOK_AT_MOST).await;
    Some(())
}

/// How far the caller has come; `None` if there is nothing after that. Without an id it is at the beginning of the `round`
/// that it says, or of the current one. An id that can't be read may be an older server's, and a page that is open over
/// an update can't take it back: it counts as none.
fn position(headers: &HeaderMap, workflow: &WorkflowView, round: Option<u64>) -> Option<Position> {
    let id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    if id == Some(Position::end(workflow.round).as_str()) {
        return None;
    }
    let position = id.and_then(|id| Position::parse(id, &workflow.steps));
    Some(position.unwrap_or_else(|| Position::start(round.unwrap_or(workflow.round), &workflow.steps)))
}

fn answer(server: &Server, source: BoxStream<'static, Result<Source, FollowError>>, teller: Teller) -> Response {
    // A stream that can't go on breaks: whoever reads it comes again.
    let events =
        stream::try_unfold((source, teller, VecDeque::new()), |(mut source, mut teller, mut told)| async move {
            loop {
                if let Some(event) = told.pop_front() {
                    return Ok::<_, FollowError>(Some((event, (source, teller, told))));
                }
                if teller.is_over {
                    return Ok(None);
                }
                let Some(next) = source.next().await else { return Ok(None) };
                teller.tell(next?, &mut told);
            }
        });
    let events = events.take_until(server.going().clone().cancelled_owned());
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(PING).text("ping"));
    // A proxy that collects an answer before it hands it on would make live logs late.
    ([(HeaderName::from_static("x-accel-buffering"), "no")], sse).into_response()
}

impl Teller {
    fn new(position: Position, tells: Tells) -> Self {
        Self { position, tells, standing: None, is_over: false }
    }

    fn tell(&mut self, source: Source, told: &mut VecDeque<Event>) {
        match source {
            Source::News(News::Anew { round }) => self.tell_round(round, told),
            Source::News(News::Line { step, line }) => {
                if self.position.pass_line(&step, line.number) {
                    told.extend(self.event("line", &LineView::new(&step, &line)));
                }
            }
            Source::News(News::Step(step)) => self.tell_step(&step, told),
            Source::News(News::End(workflow)) => self.tell_end(&workflow, told),
            Source::Look(workflow) => {
                self.tell_standing(&workflow, told);
                if self.tells == Tells::States {
                    self.tell_round(workflow.round, told);
                    workflow.steps.iter().for_each(|step| self.tell_step(step, told));
                    if workflow.state.is_final() {
                        self.tell_end(&workflow, told);
                    }
                }
            }
        }
    }

    fn tell_round(&mut self, round: u64, told: &mut VecDeque<Event>) {
        if self.position.pass_round(round) {
            told.extend(self.event("anew", &AnewView { round }));
        }
    }

    fn tell_step(&mut self, step: &StepView, told: &mut VecDeque<Event>) {
        let is_news = match self.tells {
            Tells::States => self.position.pass_state(step),
            Tells::Whole | Tells::Step => self.position.pass_state_after_lines(step),
        };
        if is_news {
            told.extend(self.event("step", step));
        }
    }

    fn tell_standing(&mut self, workflow: &WorkflowView, told: &mut VecDeque<Event>) {
        let standing = StandingView::of(workflow);
        if self.tells != Tells::Step && self.standing.as_ref() != Some(&standing) {
            told.extend(self.event("workflow", &standing));
            self.standing = Some(standing);
        }
    }

    fn tell_end(&mut self, workflow: &WorkflowView, told: &mut VecDeque<Event>) {
        self.tell_standing(workflow, told);
        self.is_over = true;
        told.extend(
            Event::default().event("end").id(Position::end(self.position.round())).json_data(EndView::of(workflow)),
        );
    }

    /// An event that says how far its reader is when it has read it. Views have nothing that JSON can't hold.
    fn event(&self, name: &str, view: &impl Serialize) -> Option<Event> {
        Event::default().event(name).id(self.position.to_string()).json_data(view).ok()
    }
}
