//! `piculet check`.

use std::io::Write;

use crate::config::Config;
use crate::exit::Failure;

/// Says that the configuration is right, and with `cluster` which rights are there.
///
/// # Errors
/// If the cluster can't be asked, if a right is missing that piculet can't do without, or if nothing can be created
/// in the namespace.
pub async fn check(config: &Config, cluster: bool, out: &mut impl Write) -> Result<(), Failure> {
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}").map_err(Failure::Output)?;
    }
    writeln!(out, "The configuration is right.").map_err(Failure::Output)?;
    if !cluster {
        return Ok(());
    }
    let cluster = super::run::connect(config).await?;
    let preflight = cluster.preflight(config.places(), config.pods.network_policy.mode);
    let preflight = preflight.await.map_err(|error| Failure::Cluster(error.to_string()))?;
    for right in &preflight.rights {
        writeln!(out, "{right}").map_err(Failure::Output)?;
    }
    let missing = preflight.missing().count();
    if missing > 0 {
        return Err(Failure::Rights(format!(
            "{missing} rights are missing that piculet can't do without; see the list above"
        )));
    }
    preflight.obstacle.map_or(Ok(()), |obstacle| Err(Failure::Rights(obstacle)))
}
