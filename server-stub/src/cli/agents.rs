//! `agents`: who is there.

use server_stub::api::AgentList;
use server_stub::view::{AgentState, AgentView};

use super::client::{Target, segment};
use super::exit::{Exit, Failure};
use super::output::Output;

/// Options of `agents`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Let an agent, by its name or id, finish what it has and take no more work.
    #[arg(long, value_name = "AGENT", conflicts_with = "resume")]
    drain: Option<String>,
    /// Let it take work again.
    #[arg(long, value_name = "AGENT")]
    resume: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Lists agents, or tells one what to do.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let client = args.target.client()?;
    let list: AgentList = match (&args.drain, &args.resume) {
        (Some(agent), _) => client.post(&format!("/api/agents/{}/drain", segment(agent)), &()).await?,
        (None, Some(agent)) => client.post(&format!("/api/agents/{}/resume", segment(agent)), &()).await?,
        (None, None) => client.get("/api/agents").await?,
    };
    if output.is_json() {
        output.json(&list)?;
    } else {
        let rows: Vec<_> = list.agents.iter().map(row).collect();
        output.table(["ID", "AGENT", "STATE", "WORKFLOWS", "CLUSTER", "LABELS"], &rows)?;
    }
    Ok(Exit::Done)
}

fn row(agent: &AgentView) -> [String; 6] {
    let state = match agent.state {
        AgentState::Connected => "connected",
        AgentState::Draining => "draining",
        AgentState::Away => "away",
    };
    let labels = agent.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let labels = labels.chain(agent.platforms.iter().map(|platform| format!("platform={platform}")));
    [
        agent.id.clone(),
        agent.name.clone(),
        state.to_owned(),
        format!("{}/{}", agent.workflows.len(), agent.capacity),
        format!("{} {}", agent.cluster, agent.cluster_version).trim().to_owned(),
        labels.collect::<Vec<_>>().join(" "),
    ]
}
