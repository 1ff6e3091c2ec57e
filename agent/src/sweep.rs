//! What agents left that were killed: removed by any agent that still lives.

use std::time::Duration;

use piculet_cluster::{Cluster, Places, Reaped, Which};
use piculet_core::id::InstanceId;

use crate::clock::Clock;

/// Between two looks. A look is five lists.
const PERIOD: Duration = Duration::from_secs(60 * 60);
/// The first look comes some minutes after the start, so that agents that start together don't look together.
const FIRST: u64 = 10 * 60;

/// Looks for what is left of workflows whose time is over, again and again. What this instance drives itself is left to its
/// runners, and so is what has no anchor: nobody wrote down when its time is over.
pub(crate) async fn sweep(
    cluster: Cluster,
    places: Places,
    instance: InstanceId,
    clock: Clock,
    grace: Duration,
    seed: u64,
) {
    tokio::time::sleep(Duration::from_secs(60 + seed % FIRST)).await;
    loop {
        match cluster.remains(places, Which::Over { now: clock.now(), age: Duration::MAX }).await {
            Ok(remains) => {
                for one in remains.iter().filter(|one| one.holder.as_ref() != Some(&instance)) {
                    let (workflow, namespace) = (&one.workflow, &one.namespace);
                    tracing::info!(workflow, namespace, objects = one.objects.len(), "removing what a workflow left");
                    let Reaped::Removed(report) = cluster.reap(one, grace).await else {
                        tracing::info!(workflow, namespace, "somebody goes on with it");
                        continue;
                    };
                    for error in report.errors.iter().filter(|error| !error.is_forbidden()) {
                        tracing::warn!(workflow, %error, code = error.code(), "while a workflow's objects were removed");
                    }
                }
            }
            // It is said at the start what an agent goes without.
            Err(error) => tracing::debug!(%error, "what workflows left can't be seen"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}
