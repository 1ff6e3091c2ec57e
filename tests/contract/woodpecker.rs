//! Woodpecker's own protocol.

use piculet_core::outbox::Limits;
use piculet_core::outcome::{StepState, WorkflowState};
use piculet_core::secret::Secret;
use piculet_link::link::Link;
use piculet_link::stream::Token;
use piculet_link::woodpecker::{Settings, Transport, WoodpeckerLink};
use server_stub::woodpecker::{Compiled, Config, Job, Method, Server, State, Workflow};
use tonic::Status;

use crate::side::{GOOD, Shown, Side, Wire};

pub(crate) struct Woodpecker {
    server: Server,
    wire: Wire,
}

fn number(id: &str) -> i64 {
    id.parse().unwrap()
}

impl Side for Woodpecker {
    fn start() -> Self {
        let server = Server::start(Config { system_token: Some(GOOD.to_owned()), ..Config::default() });
        Self { wire: Wire::new(server.network()), server }
    }

    fn link(&self, credentials: &str) -> impl Link {
        let settings = Settings {
            transport: Transport::new("server:9000".parse().unwrap()),
            token: Some(Token::Text(Secret::new(credentials))),
            id_file: None,
            hostname: "contract".to_owned(),
            platform: "linux/amd64".to_owned(),
            retry_timeout: Some(std::time::Duration::from_secs(120)),
            seed: 7,
        };
        let server = self.server.clone();
        WoodpeckerLink::with_connector(settings, self.wire.connector(), move || server.now().time)
    }

    fn limits() -> Limits {
        piculet_link::woodpecker::limits(Limits::default())
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn submit(&self, name: &str) -> String {
        let job = |job: &str| Job::plugin(job, "alpine");
        self.server.submit(Compiled::new(name).then([job("build"), job("test")])).to_string()
    }

    fn cancel(&self, id: &str) {
        assert!(self.server.cancel(number(id)));
    }

    fn restart(&mut self) {
        self.server.behave();
        self.server.restart();
    }

    fn refuse_everybody(&mut self) {
        self.server.refuse(Method::Auth, &Status::unknown("agent could not auth: agent not found"), 1_000_000);
        self.server.restart();
    }

    fn workflow(&self, id: &str) -> Shown {
        shown(&self.server.workflow(number(id)))
    }

    fn log(&self, id: &str, step: &str) -> Vec<(u64, String)> {
        let lines = self.server.log(number(id), step);
        let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
        lines.iter().map(|line| (line.line.unsigned_abs().into(), text(&line.data))).collect()
    }

    async fn ended(&self, id: &str) -> Shown {
        shown(&self.server.ended(number(id)).await)
    }
}

fn shown(workflow: &Workflow) -> Shown {
    Shown {
        state: match workflow.state {
            State::Blocked | State::Pending | State::Running => None,
            State::Success => Some(WorkflowState::Success),
            State::Failure => Some(WorkflowState::Failure),
            State::Killed | State::Skipped | State::Canceled => Some(WorkflowState::Killed),
        },
        error: workflow.error.clone(),
        steps: ["build", "test"].map(|name| {
            let step = workflow.step(name).unwrap();
            let state = match step.state {
                State::Blocked | State::Pending => StepState::Pending,
                State::Running => StepState::Running,
                State::Success => StepState::Success,
                State::Failure => StepState::Failure,
                State::Killed => StepState::Killed,
                State::Canceled => StepState::Canceled,
                State::Skipped => StepState::Skipped,
            };
            let has_code = matches!(state, StepState::Success | StepState::Failure);
            (state, has_code.then_some(step.exit_code))
        }),
    }
}
