//! `piculet reap`.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use piculet_cluster::{CallError, Cluster, Reaped, Which};

use crate::config::Config;
use crate::exit::Failure;

/// Between two looks at agents that were told to end.
const PAUSE: Duration = Duration::from_secs(1);

/// What `piculet reap` shall do.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Only say what would go.
    pub dry_run: bool,
    /// Everything that any piculet made in the configured namespace, or in those of its organizations, goes, also of
    /// workflows that run.
    pub all: bool,
    /// How old objects without an anchor have to be. They are those of agents that may make none, and say nothing of their
    /// time.
    pub age: Duration,
    /// A Deployment of agents to end first.
    pub retire: Option<&'a str>,
}

/// Removes what workflows left whose time is over: as a CronJob does it, or a person. With a Deployment to end it lets agents
/// tell their server how their workflows ended, while all that these made goes.
///
/// # Errors
/// If the cluster can't be asked, or if something is left.
pub async fn reap(config: &Config, wish: &Wish<'_>, out: &mut impl Write) -> Result<(), Failure> {
    let cluster = super::run::connect(config).await?;
    if let Some(deployment) = wish.retire {
        match cluster.retire(deployment).await.map_err(unanswered)? {
            None => writeln!(out, "There is no Deployment '{deployment}': no agents have to end first."),
            Some(retired) => {
                writeln!(out, "The agents of the Deployment '{deployment}' take no more workflows.")
                    .map_err(Failure::Output)?;
                // They drain: their pods go when their workflows have ended, which these do once their pods are gone.
                while cluster.still_there(&retired).await.map_err(unanswered)? > 0 {
                    // What can't go now is looked at again, and counts at the end.
                    let _later = pass(&cluster, config, wish, out).await?;
                    tokio::time::sleep(PAUSE).await;
                }
                writeln!(out, "The agents have ended.")
            }
        }
        .map_err(Failure::Output)?;
    }
    let Pass { found, left } = pass(&cluster, config, wish, out).await?;
    if found == 0 {
        writeln!(out, "There is nothing to remove.").map_err(Failure::Output)?;
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::Left(left.join("; "))) }
}

/// What one look brought.
struct Pass {
    /// Workflows that had left something.
    found: usize,
    /// What could not be removed: sentences.
    left: Vec<String>,
}

/// Looks once, and removes what may go.
async fn pass(cluster: &Cluster, config: &Config, wish: &Wish<'_>, out: &mut impl Write) -> Result<Pass, Failure> {
    let which = if wish.all { Which::All } else { Which::Over { now: now(), age: wish.age } };
    let remains = cluster.remains(config.places(), which).await.map_err(unanswered)?;
    let mut left = Vec::new();
    for one in &remains {
        let (namespace, count, objects) = (&one.namespace, one.objects.len(), one.objects.join(", "));
        let goes = if wish.dry_run { "would go" } else { "goes" };
        writeln!(out, "{goes}: workflow '{}' in namespace '{namespace}', {count} objects: {objects}", one.workflow)
            .map_err(Failure::Output)?;
        if !wish.dry_run {
            let Reaped::Removed(report) = cluster.reap(one, config.limits.grace).await else {
                writeln!(
                    out,
                    "stays: workflow '{}' in namespace '{namespace}': somebody goes on with it",
                    one.workflow
                )
                .map_err(Failure::Output)?;
                continue;
            };
            left.extend(report.errors.iter().filter(|error| !error.is_forbidden()).map(ToString::to_string));
            left.extend(report.left.iter().map(|object| format!("{object} in namespace '{namespace}' is still there")));
        }
    }
    Ok(Pass { found: remains.len(), left })
}

fn unanswered(error: CallError) -> Failure {
    Failure::Cluster(error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "anchors have wall times, and this command its own process")]
fn now() -> Timestamp {
    Timestamp::now()
}
