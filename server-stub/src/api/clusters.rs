//! Clusters: list, close, open, give up.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, Refused};
use super::schema::ClusterName;
use crate::mailbox::Intake;
use crate::server::Server;
use crate::view::ClusterView;

/// All clusters.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ClusterList {
    /// By name.
    pub clusters: Vec<ClusterView>,
}

/// What became of a cluster that was given up.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LostCluster {
    /// The cluster.
    pub cluster: ClusterView,
    /// The ids of the workflows that it had; they start anew elsewhere.
    pub requeued: Vec<String>,
}

/// Lists clusters.
#[utoipa::path(
    get, path = "/api/clusters", tag = "clusters",
    responses((status = 200, description = "All that have agents or workflows, or that an operator closed", body = ClusterList), Refused),
)]
pub(super) async fn list(State(server): State<Server>) -> Result<Json<ClusterList>, ApiError> {
    let clusters = server.clusters();
    super::in_time(super::Asked::Look, server.settled_for_operators()).await?;
    Ok(Json(ClusterList { clusters }))
}

/// Lets all agents of a cluster take no more work, those that come later included.
#[utoipa::path(
    post, path = "/api/clusters/{cluster}/drain", tag = "clusters", params(ClusterName),
    responses((status = 200, description = "It is closed", body = ClusterView), Refused),
)]
pub(super) async fn drain(
    State(server): State<Server>,
    Path(cluster): Path<String>,
) -> Result<Json<ClusterView>, ApiError> {
    set_intake(&server, &cluster, Intake::Closed).await
}

/// Lets a cluster take work again that was drained or lost.
#[utoipa::path(
    post, path = "/api/clusters/{cluster}/resume", tag = "clusters", params(ClusterName),
    responses((status = 200, description = "It is open", body = ClusterView), Refused),
)]
pub(super) async fn resume(
    State(server): State<Server>,
    Path(cluster): Path<String>,
) -> Result<Json<ClusterView>, ApiError> {
    set_intake(&server, &cluster, Intake::Open).await
}

async fn set_intake(server: &Server, name: &str, intake: Intake) -> Result<Json<ClusterView>, ApiError> {
    server.set_cluster_intake(name, intake)?;
    super::stored(server).await?;
    Ok(Json(server.cluster(name)?))
}

/// Gives a cluster up that will not come back: what it has starts anew elsewhere, even if it still runs there.
#[utoipa::path(
    post, path = "/api/clusters/{cluster}/lose", tag = "clusters", params(ClusterName),
    responses((status = 200, description = "It is given up", body = LostCluster), Refused),
)]
pub(super) async fn lose(
    State(server): State<Server>,
    Path(cluster): Path<String>,
) -> Result<Json<LostCluster>, ApiError> {
    let requeued = server.lose_cluster(&cluster)?;
    super::stored(&server).await?;
    let requeued = requeued.iter().map(ToString::to_string).collect();
    Ok(Json(LostCluster { cluster: server.cluster(&cluster)?, requeued }))
}
