//! The server's face: each call is written down, goes wrong if a test wants that, is checked, and is done by the model.

mod visit;

use std::time::Duration;

use piculet_proto::woodpecker as pb;
use piculet_proto::woodpecker::woodpecker_auth_server::{WoodpeckerAuth, WoodpeckerAuthServer};
use piculet_proto::woodpecker::woodpecker_server::{Woodpecker, WoodpeckerServer};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::journal::{Answer, Said};
use super::model::{Asked, Awaited};
use super::queue::{PollEnd, PollId, WaitEnd, WaitId};
use super::refusal::Refusal;
use super::server::Server;
use visit::Visit;

/// How long an agent waits in vain that is to have no work.
const NO_SCHEDULE: Duration = Duration::from_secs(1);
/// What the transport takes in; what the server takes is less, and is told with another status.
const MAX_DECODED_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(super) struct Face {
    server: Server,
}

impl Server {
    /// The two services of the protocol.
    pub(super) fn services(&self) -> (WoodpeckerAuthServer<Face>, WoodpeckerServer<Face>) {
        let face = Face { server: self.clone() };
        (
            WoodpeckerAuthServer::new(face.clone()).max_decoding_message_size(MAX_DECODED_BYTES),
            WoodpeckerServer::new(face).max_decoding_message_size(MAX_DECODED_BYTES),
        )
    }
}

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WoodpeckerAuth for Face {
    async fn auth(&self, request: Request<pb::AuthRequest>) -> Answered<pb::AuthResponse> {
        let said = |asked: &pb::AuthRequest| Said::Auth { token: asked.agent_token.clone(), id: asked.agent_id };
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let result = self.server.change(|state, now| state.model.auth(&asked.agent_token, asked.agent_id, now));
        if let Ok((agent, _)) = result {
            visit.identify(agent);
        }
        let answer =
            result.map(|(agent_id, access_token)| pb::AuthResponse { status: "ok".to_owned(), agent_id, access_token });
        visit.end(answer).await
    }
}

#[tonic::async_trait]
impl Woodpecker for Face {
    async fn version(&self, request: Request<pb::Empty>) -> Answered<pb::VersionResponse> {
        let (visit, _) = Visit::begin(&self.server, request, |_| Said::Version).await?;
        let answer = self.server.change(|state, _| pb::VersionResponse {
            grpc_version: state.model.protocol,
            server_version: state.model.version.clone(),
        });
        visit.end(Ok(answer)).await
    }

    async fn register_agent(&self, request: Request<pb::RegisterAgentRequest>) -> Answered<pb::RegisterAgentResponse> {
        let said = |asked: &pb::RegisterAgentRequest| Said::RegisterAgent(asked.info.clone().unwrap_or_default());
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let info = asked.info.unwrap_or_default();
        let hostname = visit.hostname();
        let result = self.server.change(|state, _| state.model.register(visit.agent(), info, hostname.as_deref()));
        visit.end(result.map(|agent_id| pb::RegisterAgentResponse { agent_id })).await
    }

    async fn unregister_agent(&self, request: Request<pb::Empty>) -> Answered<pb::Empty> {
        let (visit, _) = Visit::begin(&self.server, request, |_| Said::UnregisterAgent).await?;
        let result = self.server.change(|state, _| state.model.agents.unregister(visit.agent()));
        visit.end(result.map(|()| pb::Empty {})).await
    }

    async fn report_health(&self, request: Request<pb::ReportHealthRequest>) -> Answered<pb::Empty> {
        let said = |asked: &pb::ReportHealthRequest| Said::ReportHealth(asked.status.clone());
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let result = self.server.change(|state, now| state.model.report_health(visit.agent(), &asked.status, now));
        visit.end(result.map(|()| pb::Empty {})).await
    }

    async fn next(&self, request: Request<pb::NextRequest>) -> Answered<pb::NextResponse> {
        let labels = |asked: &pb::NextRequest| asked.filter.clone().unwrap_or_default().labels.into_iter().collect();
        let (visit, asked) = Visit::begin(&self.server, request, |asked| Said::Next(labels(asked))).await?;
        let agent = visit.agent();
        let scripted = self.server.change(|state, _| state.faults.take_answer());
        if let Some(workflow) = scripted {
            return visit.end(Ok(pb::NextResponse { workflow })).await;
        }
        let asked = self.server.change(|state, _| {
            let asked = state.model.next(agent, labels(&asked));
            if asked == Err(Refusal::Crash) {
                state.journal.fault(format!("agent {agent} called Next without labels, which crashes real servers"));
            }
            let Asked::Waits(poll) = asked? else { return Ok(None) };
            let (sender, end) = oneshot::channel();
            state.polls.insert(poll, sender);
            Ok(Some((poll, end)))
        });
        let workflow = match asked {
            Err(refusal) => return visit.end(Err(refusal)).await,
            Ok(None) => {
                tokio::time::sleep(NO_SCHEDULE).await;
                None
            }
            Ok(Some((poll, end))) => {
                let _leaves = Poll { server: &self.server, poll };
                match end.await {
                    Ok(PollEnd::Task(task)) => {
                        if self.server.change(|state, _| state.faults.take_lost_assignment()) {
                            return visit.lose(Status::unavailable("the poll was gone when its task came"));
                        }
                        self.server.change(|state, _| state.model.hand_out(task, agent))
                    }
                    Ok(PollEnd::Empty) => self.server.change(|state, _| state.faults.take_answer()).flatten(),
                    Err(_) => return Err(visit.gone()),
                }
            }
        };
        visit.end(Ok(pb::NextResponse { workflow })).await
    }

    async fn init(&self, request: Request<pb::InitRequest>) -> Answered<pb::Empty> {
        let said = |asked: &pb::InitRequest| Said::Init {
            workflow: asked.id.clone(),
            state: asked.state.clone().unwrap_or_default(),
        };
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let reported = asked.state.unwrap_or_default();
        let result = self.server.change(|state, now| state.model.init(visit.agent(), &asked.id, &reported, now));
        visit.end(result.map(|()| pb::Empty {})).await
    }

    async fn wait(&self, request: Request<pb::WaitRequest>) -> Answered<pb::WaitResponse> {
        let said = |asked: &pb::WaitRequest| Said::Wait(asked.id.clone());
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let awaited = self.server.change(|state, _| {
            let Awaited::Waits(wait) = state.model.wait(visit.agent(), &asked.id)? else { return Ok(None) };
            let (sender, end) = oneshot::channel();
            state.waits.insert(wait, sender);
            Ok(Some((wait, end)))
        });
        let end = match awaited {
            Err(refusal) => return visit.end(Err(refusal)).await,
            Ok(None) => WaitEnd::Over,
            Ok(Some((wait, end))) => {
                let _leaves = Wait { server: &self.server, wait };
                match end.await {
                    Ok(end) => end,
                    Err(_) => return Err(visit.gone()),
                }
            }
        };
        let answer = match end {
            WaitEnd::Over => Ok(pb::WaitResponse { canceled: false }),
            WaitEnd::Canceled => Ok(pb::WaitResponse { canceled: true }),
            WaitEnd::Expired => Err(Refusal::Expired),
        };
        visit.end(answer).await
    }

    async fn extend(&self, request: Request<pb::ExtendRequest>) -> Answered<pb::Empty> {
        let said = |asked: &pb::ExtendRequest| Said::Extend(asked.id.clone());
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let result = self.server.change(|state, now| state.model.extend(visit.agent(), &asked.id, now));
        visit.end(result.map(|()| pb::Empty {})).await
    }

    async fn update(&self, request: Request<pb::UpdateRequest>) -> Answered<pb::Empty> {
        let said = |asked: &pb::UpdateRequest| Said::Update {
            workflow: asked.id.clone(),
            step: asked.state.clone().unwrap_or_default(),
        };
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let report = asked.state.unwrap_or_default();
        let result = self.server.change(|state, now| state.model.update(visit.agent(), &asked.id, &report, now));
        visit.end(result.map(|()| pb::Empty {})).await
    }

    async fn log(&self, request: Request<pb::LogRequest>) -> Answered<pb::Empty> {
        let said = |asked: &pb::LogRequest| Said::log(&asked.log_entries);
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let result = self.server.change(|state, now| state.model.log(visit.agent(), &asked.log_entries, now));
        visit.end(result.map(|()| pb::Empty {})).await
    }

    async fn done(&self, request: Request<pb::DoneRequest>) -> Answered<pb::Empty> {
        let said = |asked: &pb::DoneRequest| Said::Done {
            workflow: asked.id.clone(),
            state: asked.state.clone().unwrap_or_default(),
        };
        let (visit, asked) = Visit::begin(&self.server, request, said).await?;
        let reported = asked.state.unwrap_or_default();
        let result = self.server.change(|state, now| state.model.done(visit.agent(), &asked.id, &reported, now));
        visit.end(result.map(|()| pb::Empty {})).await
    }
}

/// Leaves the queue when the call is over, however it ends.
struct Poll<'a> {
    server: &'a Server,
    poll: PollId,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.server.change(|state, _| {
            state.polls.remove(&self.poll);
            state.model.queue.leave(self.poll);
        });
    }
}

/// Leaves the queue when the call is over, however it ends.
struct Wait<'a> {
    server: &'a Server,
    wait: WaitId,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.server.change(|state, _| {
            state.waits.remove(&self.wait);
            state.model.queue.leave_wait(self.wait);
        });
    }
}

/// What the journal says of an answer that went well.
trait Recorded {
    fn recorded(&self) -> Answer {
        Answer::Good
    }
}

impl Recorded for pb::Empty {}
impl Recorded for pb::AuthResponse {}
impl Recorded for pb::VersionResponse {}
impl Recorded for pb::RegisterAgentResponse {}

impl Recorded for pb::WaitResponse {
    fn recorded(&self) -> Answer {
        Answer::Canceled(self.canceled)
    }
}

impl Recorded for pb::NextResponse {
    fn recorded(&self) -> Answer {
        self.workflow.as_ref().map_or(Answer::Good, |workflow| Answer::Task(workflow.id.clone()))
    }
}
