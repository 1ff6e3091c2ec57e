//! Where workflows run and who runs them: what every object says of its maker.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use piculet_core::id::{Epoch, InstanceId, ServerId};
use piculet_pods::Context;

/// How long after its time limit the objects of a workflow may be swept.
const SWEEP_GRACE: Duration = Duration::from_secs(60 * 60);

/// This instance and its machine.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// This process.
    pub(crate) instance: InstanceId,
    /// The host name, for `CI_MACHINE`.
    pub(crate) machine: String,
    /// `linux/amd64`, for `CI_SYSTEM_PLATFORM`.
    pub(crate) platform: String,
}

impl Site {
    /// What the objects of a workflow say.
    pub(crate) fn context(&self, epoch: Epoch, server: ServerId, now: Timestamp, limit: Duration) -> Context {
        let time = SignedDuration::try_from(limit.saturating_add(SWEEP_GRACE)).unwrap_or(SignedDuration::MAX);
        Context {
            server,
            instance: self.instance.clone(),
            epoch,
            machine: self.machine.clone(),
            platform: self.platform.clone(),
            time_limit: limit,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            deadline: now.saturating_add(time).unwrap_or(Timestamp::MAX),
        }
    }
}

/// The platform of this machine, as Kubernetes and Woodpecker write it.
pub fn own_platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "x86" => "386",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}
