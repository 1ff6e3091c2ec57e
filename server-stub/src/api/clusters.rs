//! Clusters: list, close, open, give up.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use crate::mailbox::Intake;
use crate::server::Server;
use crate::view::ClusterView;

/// All clusters.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClusterList {
    /// By name.
    pub clusters: Vec<ClusterView>,
}

/// What became of a cluster that was given up.
#[derive(Debug, Serialize, Deserialize)]
pub struct LostCluster {
    /// The cluster.
    pub cluster: ClusterView,
    /// The ids of the workflows that it had; they start anew elsewhere.
    pub requeued: Vec<String>,
}

pub(super) async fn list(State(server): State<Server>) -> Json<ClusterList> {
    Json(ClusterList { clusters: server.clusters() })
}

pub(super) async fn drain(
    State(server): State<Server>,
    Path(cluster): Path<String>,
) -> Result<Json<ClusterView>, ApiError> {
    set_intake(&server, &cluster, Intake::Closed).await
}

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

pub(super) async fn lose(
    State(server): State<Server>,
    Path(cluster): Path<String>,
) -> Result<Json<LostCluster>, ApiError> {
    let requeued = server.lose_cluster(&cluster)?;
    super::stored(&server).await?;
    let requeued = requeued.iter().map(ToString::to_string).collect();
    Ok(Json(LostCluster { cluster: server.cluster(&cluster)?, requeued }))
}
