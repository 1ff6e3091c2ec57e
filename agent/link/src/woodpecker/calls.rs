//! Calls to the server: with the access token, tried again where that can help.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use piculet_core::retry::{Backoff, Growth};
use piculet_proto::woodpecker as pb;
use piculet_proto::woodpecker::woodpecker_client::WoodpeckerClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tracing::{debug, warn};

use super::answer::{Refusal, Trouble};
use super::pass::Pass;
use super::run::Call;
use crate::link::Ended;

/// How long the server may take for anything but what it answers when there is something to say. Long: it writes to its
/// database meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses between tries: they begin as those of the reference agent, and grow less far, so that what waits is soon said.
const PAUSES: Growth = Growth { initial: Duration::from_millis(50), factor: 1.5, cap: Duration::from_secs(10) };

/// How long the beginning and the end of a workflow are said at least, while the server gives reasons that may pass: one
/// that is never told stays at the server as it is, for ever.
const STUBBORN: Duration = Duration::from_secs(10 * 60);

/// How long the same is done for what opens a session: another one is tried for anyway.
const OPENING: Duration = Duration::from_secs(10);

/// How long the server may take to renew a lease: less than is left of it.
const EXTEND_PATIENCE: Duration = Duration::from_secs(10);

/// How often a token that the server just gave may be refused before its server is taken for a wrong one.
const FRESH_TOKENS: u32 = 3;

/// A server, and who calls it. Clones share the token.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    client: WoodpeckerClient<Channel>,
    pass: Arc<Pass>,
    hostname: Option<AsciiMetadataValue>,
    /// Whether calls say which protocol the agent speaks: a server of another one refuses them then.
    says_protocol: bool,
    /// How long a call is repeated that the server answers with an error that asks for it; `None`: without an end.
    budget: Option<Duration>,
    seed: u64,
}

/// Why a call that has an answer for everything still has none.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server doesn't want it.
    Refused(Refusal),
    /// The session is over.
    Ended(Ended),
}

impl Calls {
    pub(super) fn new(
        client: WoodpeckerClient<Channel>,
        pass: Arc<Pass>,
        hostname: &str,
        budget: Option<Duration>,
        seed: u64,
    ) -> Self {
        // A name that no header can hold is left out: it is for people.
        let hostname = AsciiMetadataValue::try_from(hostname).ok();
        Self { client, pass, hostname, says_protocol: true, budget, seed }
    }

    /// The token, for whoever renews it.
    pub(super) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// The versions of protocol and server.
    pub(super) async fn version(&self) -> Result<pb::VersionResponse, Failed> {
        let calls = Self { says_protocol: false, ..self.clone() };
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.version(request).await };
        calls.answered("Version", Some(OPENING), pb::Empty {}, call).await
    }

    /// Says what the agent is.
    pub(super) async fn register(&self, info: pb::AgentInfo) -> Result<i64, Failed> {
        let request = pb::RegisterAgentRequest { info: Some(info) };
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.register_agent(request).await };
        Ok(self.answered("RegisterAgent", Some(OPENING), request, call).await?.agent_id)
    }

    /// The agent goes for good. Tried once.
    pub(super) async fn unregister(&self) -> Result<(), Trouble> {
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.unregister_agent(request).await };
        self.once(pb::Empty {}, Some(PATIENCE), &call).await.map(drop)
    }

    /// The agent lives.
    pub(super) async fn health(&self, patience: Duration) -> Result<(), Trouble> {
        let request = pb::ReportHealthRequest { status: pb::HEALTHY.to_owned() };
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.report_health(request).await };
        self.once(request, Some(patience), &call).await.map(drop)
    }

    /// Asks for a workflow until there is one.
    pub(super) async fn next(&self, filter: pb::Filter) -> Result<pb::Workflow, Ended> {
        /// What the reference agent waits after an answer that makes no sense.
        const CONFUSED: Duration = Duration::from_secs(5);
        /// A server that has nothing to say should have waited.
        const HASTY: Duration = Duration::from_millis(500);
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.next(request).await };
        let mut pauses = self.pauses();
        loop {
            let asked = Instant::now();
            let request = pb::NextRequest { filter: Some(filter.clone()) };
            match self.once(request, None, &call).await {
                Ok(pb::NextResponse { workflow: Some(workflow) }) => return Ok(workflow),
                Ok(pb::NextResponse { workflow: None }) => {
                    pauses.reset();
                    sleep(HASTY.saturating_sub(asked.elapsed())).await;
                }
                Err(Trouble::Ended(ended)) => return Err(ended),
                Err(Trouble::Again(status) | Trouble::Busy(status)) => {
                    debug!(%status, "asking for work again");
                    // A proxy that ends what is quiet for a minute is no outage.
                    if asked.elapsed() > PAUSES.cap {
                        pauses.reset();
                    }
                    sleep(pauses.next()).await;
                }
                Err(Trouble::Refused(refusal)) => {
                    warn!(%refusal, "the server does not give out work");
                    sleep(CONFUSED).await;
                }
            }
        }
    }

    /// Waits until the server has something to say of a workflow: true if somebody stopped it.
    pub(super) async fn wait(&self, id: &str) -> Result<bool, Failed> {
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.wait(request).await };
        let mut pauses = self.pauses();
        loop {
            let asked = Instant::now();
            match self.once(pb::WaitRequest { id: id.to_owned() }, None, &call).await {
                Ok(pb::WaitResponse { canceled }) => return Ok(canceled),
                Err(Trouble::Ended(ended)) => return Err(Failed::Ended(ended)),
                Err(Trouble::Refused(refusal)) => return Err(Failed::Refused(refusal)),
                Err(Trouble::Again(status) | Trouble::Busy(status)) => {
                    debug!(workflow = id, %status, "waiting again");
                    if asked.elapsed() > PAUSES.cap {
                        pauses.reset();
                    }
                    sleep(pauses.next()).await;
                }
            }
        }
    }

    /// Renews the lease of a workflow. Tried once: the next one comes soon.
    pub(super) async fn extend(&self, id: &str) -> Result<(), Trouble> {
        let call = |mut client: WoodpeckerClient<_>, request| async move { client.extend(request).await };
        self.once(pb::ExtendRequest { id: id.to_owned() }, Some(EXTEND_PATIENCE), &call).await.map(drop)
    }

    /// Makes a call about a workflow until it is answered.
    pub(super) async fn make(&self, call: Call) -> Result<(), Failed> {
        match call {
            Call::Init(request) => {
                let call = |mut client: WoodpeckerClient<_>, request| async move { client.init(request).await };
                self.answered("Init", self.stubborn(), request, call).await.map(drop)
            }
            Call::Update(request) => {
                let call = |mut client: WoodpeckerClient<_>, request| async move { client.update(request).await };
                self.answered("Update", self.budget, request, call).await.map(drop)
            }
            Call::Log(request) => {
                let call = |mut client: WoodpeckerClient<_>, request| async move { client.log(request).await };
                self.answered("Log", self.budget, request, call).await.map(drop)
            }
            Call::Done(request) => {
                let call = |mut client: WoodpeckerClient<_>, request| async move { client.done(request).await };
                self.answered("Done", self.stubborn(), request, call).await.map(drop)
            }
        }
    }

    fn stubborn(&self) -> Option<Duration> {
        self.budget.map(|budget| budget.max(STUBBORN))
    }

    /// Tries until there is an answer, or none can be had. `budget`: how long reasons are met that may pass.
    async fn answered<Q, A, F>(
        &self,
        name: &str,
        budget: Option<Duration>,
        request: Q,
        call: impl Fn(WoodpeckerClient<Channel>, Request<Q>) -> F + Sync,
    ) -> Result<A, Failed>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let (mut pauses, mut busy_since) = (self.pauses(), None);
        loop {
            match self.once(request.clone(), Some(PATIENCE), &call).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Ended(ended)) => return Err(Failed::Ended(ended)),
                Err(Trouble::Refused(refusal)) => return Err(Failed::Refused(refusal)),
                // Whoever stands before a server that is away says so, however long it takes.
                Err(Trouble::Again(status)) => {
                    busy_since = None;
                    debug!(call = name, %status, "calling again");
                }
                Err(Trouble::Busy(status)) => {
                    let since = *busy_since.get_or_insert_with(Instant::now);
                    if budget.is_some_and(|budget| since.elapsed() >= budget) {
                        return Err(Failed::Refused(Refusal::given_up(&status)));
                    }
                    debug!(call = name, %status, "calling again");
                }
            }
            sleep(pauses.next()).await;
        }
    }

    /// One try; with a new token if the server doesn't accept the one that there is.
    async fn once<Q, A, F>(
        &self,
        request: Q,
        patience: Option<Duration>,
        call: &(impl Fn(WoodpeckerClient<Channel>, Request<Q>) -> F + Sync),
    ) -> Result<A, Trouble>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        for _ in 0..FRESH_TOKENS {
            let token = self.pass.token();
            let mut request = Request::new(request.clone());
            request.metadata_mut().insert("token", token.clone());
            if self.says_protocol {
                request.metadata_mut().insert("proto-version", AsciiMetadataValue::from(pb::PROTOCOL));
            }
            if let Some(hostname) = &self.hostname {
                request.metadata_mut().insert("hostname", hostname.clone());
            }
            let answer = call(self.client.clone(), request);
            let answer = match patience {
                Some(patience) => timeout(patience, answer)
                    .await
                    .unwrap_or_else(|_| Err(Status::deadline_exceeded("there was no answer in time"))),
                None => answer.await,
            };
            match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::Unauthenticated => {
                    self.pass.renew(&token).await.map_err(Trouble::Ended)?
                }
                Err(status) => return Err(Trouble::of(&status)),
            }
        }
        Err(Trouble::fresh_token_refused())
    }

    fn pauses(&self) -> Backoff {
        Backoff::new(PAUSES, self.seed)
    }
}
