//! The server of a simulation, whatever it speaks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use piculet_core::id::WorkflowId;
use server_stub::dispatch::Submission;
use server_stub::mailbox::{Intake, Stop};
use server_stub::server;
use server_stub::woodpecker::{self, Answer, Said};

use crate::plan::WorkflowPlan;
use crate::shown::Workflow;

/// What agents and server talk by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Stream,
    Woodpecker,
}

/// A server.
#[derive(Clone)]
pub(crate) enum Service {
    Stream(server::Server),
    Woodpecker(Woodpecker),
}

/// The model of Woodpecker's server, and its numbers of the plan's workflows.
#[derive(Clone)]
pub(crate) struct Woodpecker {
    pub(crate) server: woodpecker::Server,
    numbers: Arc<Mutex<BTreeMap<String, i64>>>,
}

/// What became of a wish to stop a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// It was over.
    Late,
    /// It is stored, and whom it concerns hears of it.
    Stored,
    /// It is stored, and nobody may ever hear of it: a Woodpecker server tells only those who wait at that moment.
    Unheard,
}

impl Woodpecker {
    pub(crate) fn new(server: woodpecker::Server) -> Self {
        Self { server, numbers: Arc::default() }
    }

    fn numbers(&self) -> BTreeMap<String, i64> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Service {
    /// Whether nothing waits for the disk.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Stream(server) => server.is_settled(),
            Self::Woodpecker(_) => true,
        }
    }

    /// Waits until all that was changed is stored.
    pub(crate) async fn settled(&self) {
        match self {
            Self::Stream(server) => server.settled().await,
            Self::Woodpecker(_) => {}
        }
    }

    /// Everything that it has.
    pub(crate) fn workflows(&self) -> Vec<Workflow> {
        match self {
            Self::Stream(server) => server.workflows().into_iter().map(Workflow::from).collect(),
            Self::Woodpecker(woodpecker) => {
                let show = |(id, number): (String, i64)| {
                    let server = &woodpecker.server;
                    Workflow::woodpeckers(&id, &server.workflow(number), server.place(number))
                };
                woodpecker.numbers().into_iter().map(show).collect()
            }
        }
    }

    /// The lines of a step with their numbers; `None`: they can't be read.
    pub(crate) fn log(&self, id: &str, step: &str) -> Option<Vec<(u64, String)>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Stream(server) => {
                let page = server.log_page(id, step, 0, usize::MAX).now_or_never()?.ok()?;
                Some(page.lines.iter().map(|line| (line.number, text(&line.bytes))).collect())
            }
            Self::Woodpecker(woodpecker) => {
                let number = *woodpecker.numbers().get(id)?;
                let lines = woodpecker.server.log(number, step);
                Some(lines.iter().map(|line| (line.line.unsigned_abs().into(), text(&line.data))).collect())
            }
        }
    }

    /// Takes a workflow.
    pub(crate) fn submit(&self, workflow: &WorkflowPlan) -> Result<(), String> {
        match self {
            Self::Stream(server) => {
                let submission = Submission::new(WorkflowId::new(workflow.name.as_str()), workflow.spec());
                server.submit(vec![submission]).map_err(|error| error.to_string())
            }
            Self::Woodpecker(woodpecker) => {
                let number = woodpecker.server.submit(workflow.compiled());
                woodpecker.numbers.lock().unwrap_or_else(PoisonError::into_inner).insert(workflow.name.clone(), number);
                Ok(())
            }
        }
    }

    /// Stops a workflow.
    pub(crate) fn cancel(&self, id: &str) -> Stopping {
        match self {
            Self::Stream(server) => {
                let stop = Stop { reason: "somebody asked".to_owned(), grace: None };
                match server.cancel(&WorkflowId::new(id), stop) {
                    Ok(()) => Stopping::Stored,
                    Err(_over) => Stopping::Late,
                }
            }
            Self::Woodpecker(Woodpecker { server, .. }) => {
                let Some(&number) = self.numbers().get(id) else { return Stopping::Late };
                let runs = server.workflow(number).agent != 0;
                let waits = server.look(|_, journal| {
                    journal.calls().iter().any(|call| {
                        call.answer == Answer::Pending
                            && matches!(&call.said, Said::Wait(id) if *id == number.to_string())
                    })
                });
                match server.cancel(number) {
                    false => Stopping::Late,
                    true if runs && !waits => Stopping::Unheard,
                    true => Stopping::Stored,
                }
            }
        }
    }

    /// Lets agents of a cluster have work or not.
    pub(crate) fn set_intake(&self, cluster: &str, agents: &[&str], intake: Intake) {
        match self {
            Self::Stream(server) => {
                // The server may not know it yet. Operators ask again after a kill; they know what they want.
                let _unknown = server.set_cluster_intake(cluster, intake);
            }
            Self::Woodpecker(Woodpecker { server, .. }) => {
                for agent in server.agents().iter().filter(|agent| agents.contains(&agent.name.as_str())) {
                    server.set_no_schedule(agent.id, intake == Intake::Closed);
                }
            }
        }
    }

    fn numbers(&self) -> BTreeMap<String, i64> {
        match self {
            Self::Stream(_) => BTreeMap::new(),
            Self::Woodpecker(woodpecker) => woodpecker.numbers(),
        }
    }
}
