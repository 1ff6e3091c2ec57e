//! Makes the namespace of an organisation.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use piculet_pods::label;

use crate::attempts::CallError;
use crate::cluster::Cluster;

impl Cluster {
    /// Makes the namespace exist, if it is one that the agent makes: see [`Cluster::in_namespace`]. It is never deleted.
    /// Whoever may not look whether it exists is left to find out.
    ///
    /// # Errors
    /// If it doesn't exist and can't be made.
    pub async fn ensure_namespace(&self) -> Result<(), CallError> {
        if !self.makes_namespace() {
            return Ok(());
        }
        let api = Api::<Namespace>::all(self.client().clone());
        let name = self.namespace();
        let found = self.attempts(format!("look for the namespace '{name}'")).ask(|| api.get_metadata_opt(name)).await;
        match found {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(()),
            Err(error) if error.is_forbidden() => return Ok(()),
            Err(error) => return Err(error),
        }
        let labels = [(label::MANAGED_BY.to_owned(), label::MANAGED_BY_PICULET.to_owned())].into();
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let created = self.attempts(format!("create the namespace '{name}'")).ask(|| async {
            match api.create(&PostParams::default(), &namespace).await {
                // Another workflow of the same organisation was faster.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                created => created.map(drop),
            }
        });
        created.await
    }
}
