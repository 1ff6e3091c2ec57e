//! piculet's own stream.

use piculet_core::id::WorkflowId;
use piculet_core::outbox::Limits;
use piculet_core::outcome::WorkflowState;
use piculet_core::secret::Secret;
use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};
use piculet_link::link::Link;
use piculet_link::stream::{Settings, StreamLink, Token};
use server_stub::dispatch::State;
use server_stub::mailbox::Stop;
use server_stub::server::Config;
use server_stub::stub::Stub;
use server_stub::view::WorkflowView;

use crate::side::{GOOD, Shown, Side, Wire};

pub(crate) struct Stream {
    stub: Option<Stub>,
    wire: Wire,
}

fn config(token: &str) -> Config {
    Config { agent_token: Some(Secret::new(token)), server_id: Some("contract".to_owned()), ..Config::default() }
}

impl Stream {
    fn stub(&self) -> &Stub {
        self.stub.as_ref().unwrap()
    }

    fn restart_with(&mut self, token: &str) {
        let store = self.stub.take().unwrap().kill();
        let stub = Stub::restart(config(token), store);
        // Who is connected notices.
        self.wire.network().cut();
        self.wire.leads_to(stub.network());
        self.stub = Some(stub);
    }
}

impl Side for Stream {
    fn start() -> Self {
        let stub = Stub::start(config(GOOD));
        Self { wire: Wire::new(stub.network()), stub: Some(stub) }
    }

    fn link(&self, credentials: &str) -> impl Link {
        let mut settings = Settings::new("http://stub:1".parse().unwrap());
        settings.token = Some(Token::Text(Secret::new(credentials)));
        StreamLink::with_connector(settings, self.wire.connector())
    }

    fn limits() -> Limits {
        Limits::default()
    }

    fn wire(&self) -> &Wire {
        &self.wire
    }

    fn submit(&self, name: &str) -> String {
        let step = |step: &str| StepSpec {
            id: format!("{name}-{step}"),
            name: step.to_owned(),
            image: "alpine".to_owned(),
            ..StepSpec::default()
        };
        let stages = vec![StageSpec { steps: vec![step("build"), step("test")] }];
        self.stub().submit(WorkloadSpec { name: name.to_owned(), stages, ..WorkloadSpec::default() }).to_string()
    }

    fn cancel(&self, id: &str) {
        let stop = Stop { reason: "a test".to_owned(), grace: None };
        self.stub().server().cancel(&WorkflowId::new(id), stop).unwrap();
    }

    fn restart(&mut self) {
        self.restart_with(GOOD);
    }

    fn refuse_everybody(&mut self) {
        self.restart_with("another-token");
    }

    fn workflow(&self, id: &str) -> Shown {
        shown(&self.stub().workflow(&WorkflowId::new(id)))
    }

    fn log(&self, id: &str, step: &str) -> Vec<(u64, String)> {
        let lines = self.stub().log(&WorkflowId::new(id), step);
        lines.iter().map(|line| (line.number, String::from_utf8_lossy(&line.bytes).into_owned())).collect()
    }

    async fn ended(&self, id: &str) -> Shown {
        shown(&self.stub().ended(&WorkflowId::new(id)).await)
    }
}

fn shown(view: &WorkflowView) -> Shown {
    Shown {
        state: match view.state {
            State::Pending | State::Running => None,
            State::Success => Some(WorkflowState::Success),
            State::Failure => Some(WorkflowState::Failure),
            State::Killed | State::Skipped | State::Canceled => Some(WorkflowState::Killed),
        },
        error: view.error.clone(),
        steps: ["build", "test"].map(|name| {
            let step = view.steps.iter().find(|step| step.name == name).unwrap();
            (step.state, step.exit_code)
        }),
    }
}
