//! `clusters`, `drain`, `resume`, `lose`: where workflows can go.

use server_stub::api::{ClusterList, LostCluster};
use server_stub::view::{ClusterState, ClusterView};

use super::client::{Target, segment};
use super::exit::{Exit, Failure};
use super::output::Output;

/// Options of `clusters`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
}

/// Options of the commands that change a cluster.
#[derive(Debug, clap::Args)]
pub(super) struct One {
    /// Its name, as `clusters` shows it.
    cluster: String,
    #[command(flatten)]
    target: Target,
}

/// Lists clusters.
pub(super) async fn run(args: Args, output: &mut Output) -> Result<Exit, Failure> {
    let list: ClusterList = args.target.client()?.get("/api/clusters").await?;
    if output.is_json() {
        output.json(&list)?;
    } else {
        show(&list.clusters, output)?;
    }
    Ok(Exit::Done)
}

/// Lets all agents of a cluster finish what they have (`drain`), or take work again (`resume`).
pub(super) async fn set_intake(args: One, verb: &str, output: &mut Output) -> Result<Exit, Failure> {
    let path = format!("/api/clusters/{}/{verb}", segment(&args.cluster));
    let cluster: ClusterView = args.target.client()?.post(&path, &()).await?;
    if output.is_json() {
        output.json(&cluster)?;
    } else {
        show(&[cluster], output)?;
    }
    Ok(Exit::Done)
}

/// Gives a cluster up.
pub(super) async fn lose(args: One, output: &mut Output) -> Result<Exit, Failure> {
    let path = format!("/api/clusters/{}/lose", segment(&args.cluster));
    let lost: LostCluster = args.target.client()?.post(&path, &()).await?;
    if output.is_json() {
        output.json(&lost)?;
    } else {
        let count = lost.requeued.len();
        output.line(&format!("{count} workflows of '{}' start anew elsewhere", lost.cluster.name))?;
        show(&[lost.cluster], output)?;
    }
    Ok(Exit::Done)
}

fn show(clusters: &[ClusterView], output: &mut Output) -> Result<(), Failure> {
    let rows: Vec<_> = clusters.iter().map(row).collect();
    output.table(["CLUSTER", "STATE", "AGENTS", "WORKFLOWS", "FREE", "VERSION", "UID"], &rows)
}

fn row(cluster: &ClusterView) -> [String; 7] {
    let state = match cluster.state {
        ClusterState::Connected => "connected",
        ClusterState::Draining => "draining",
        ClusterState::Away => "away",
        ClusterState::Lost => "lost",
    };
    [
        cluster.name.clone(),
        state.to_owned(),
        cluster.agents.to_string(),
        format!("{}/{}", cluster.workflows, cluster.capacity),
        cluster.free_slots.to_string(),
        cluster.version.clone(),
        cluster.uid.clone(),
    ]
}
