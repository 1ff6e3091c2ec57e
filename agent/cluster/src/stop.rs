//! Asks a pod to go.

use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use piculet_core::id::PodUid;
use piculet_core::retry::Verdict;
use serde::de::DeserializeOwned;

use crate::attempts::{Attempts, CallError};
use crate::cluster::Cluster;

/// What became of a request to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was accepted. The pod ends within its grace.
    Asked,
    /// There is nothing to stop: no pod has this name, or another one.
    Gone,
    /// It is not as it was at the version that was given, and was not asked.
    Changed,
}

/// What is to be deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) name: &'a str,
    /// `None`: whatever has the name.
    pub(crate) uid: Option<&'a str>,
    /// Only if it is still as it was at this resource version.
    pub(crate) version: Option<&'a str>,
}

impl Cluster {
    /// Deletes a pod, but no other one of its name. `grace` is the time between SIGTERM and SIGKILL, in whole seconds
    /// (rounded up); `None`: the pod's own. A second call with a shorter grace shortens it. `version`: only if the pod is
    /// still as it was at this resource version.
    ///
    /// # Errors
    /// If the agent may not delete pods, or if there was no answer.
    pub async fn stop(
        &self,
        name: &str,
        uid: &PodUid,
        version: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<Stopped, CallError> {
        let attempts = self.attempts(self.here(format_args!("delete Pod '{name}'")));
        self.delete::<Pod>(attempts, Target { name, uid: Some(uid.as_str()), version }, grace, None).await
    }

    /// Deletes an object, but no other one of its name.
    pub(crate) async fn delete<K>(
        &self,
        mut attempts: Attempts,
        target: Target<'_>,
        grace: Option<Duration>,
        propagation: Option<PropagationPolicy>,
    ) -> Result<Stopped, CallError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api = self.api::<K>();
        let Target { name, uid, version } = target;
        let params = DeleteParams {
            grace_period_seconds: grace.map(whole_seconds),
            propagation_policy: propagation,
            preconditions: uid
                .map(|uid| Preconditions { uid: Some(uid.to_owned()), resource_version: version.map(str::to_owned) }),
            ..DeleteParams::default()
        };
        loop {
            let deleted = async {
                match api.delete(name, &params).await {
                    Ok(_) => Ok(Some(Stopped::Asked)),
                    Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Some(Stopped::Gone)),
                    // Either the UID is another one's, or somebody changed the object.
                    Err(kube::Error::Api(status)) if status.is_conflict() => {
                        let found = api.get_metadata_opt(name).await?;
                        let ours = found.is_some_and(|found| uid.is_none_or(|uid| is(&found.metadata, uid)));
                        Ok(if ours { version.map(|_| Stopped::Changed) } else { Some(Stopped::Gone) })
                    }
                    Err(error) => Err(error),
                }
            };
            match attempts.once(deleted).await? {
                Some(Some(stopped)) => return Ok(stopped),
                Some(None) => attempts.pause(Verdict::RETRY, "the object is being changed".to_owned()).await?,
                None => {}
            }
        }
    }
}

fn is(metadata: &ObjectMeta, uid: &str) -> bool {
    metadata.uid.as_deref() == Some(uid)
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::whole_seconds;

    #[test]
    fn a_grace_is_never_shortened() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(20)), 20);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }
}
