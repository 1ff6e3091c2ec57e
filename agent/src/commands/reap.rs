//! `piculet reap`.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use piculet_cluster::{Reaped, Which};

use crate::config::Config;
use crate::exit::Failure;

/// Removes what workflows left whose time is over: as a CronJob does it, or a person. `all` removes everything that any
/// piculet made in the configured namespace, or in those of its organizations, also of workflows that run; `dry_run` only says what would go. `age` is for objects of agents that may make
/// no anchors, which say nothing of their time.
///
/// # Errors
/// If the cluster can't be asked, or if something is left.
pub async fn reap(
    config: &Config,
    dry_run: bool,
    all: bool,
    age: Duration,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let cluster = super::run::connect(config).await?;
    let which = if all { Which::All } else { Which::Over { now: now(), age } };
    let remains = cluster.remains(config.places(), which).await.map_err(|error| Failure::Cluster(error.to_string()))?;
    let mut left = Vec::new();
    for one in &remains {
        let (namespace, count, objects) = (&one.namespace, one.objects.len(), one.objects.join(", "));
        let goes = if dry_run { "would go" } else { "goes" };
        writeln!(out, "{goes}: workflow '{}' in namespace '{namespace}', {count} objects: {objects}", one.workflow)
            .map_err(Failure::Output)?;
        if !dry_run {
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
    if remains.is_empty() {
        writeln!(out, "There is nothing to remove.").map_err(Failure::Output)?;
    }
    if left.is_empty() { Ok(()) } else { Err(Failure::Left(left.join("; "))) }
}

#[expect(clippy::disallowed_methods, reason = "anchors have wall times, and this command its own process")]
fn now() -> Timestamp {
    Timestamp::now()
}
