//! What keeps pods from starting, provoked in both kinds of cluster. Words for the one in memory are those that a real one
//! was seen to use.

use fake_cluster::{Failure, Fault, Verb};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::site::{FakeSite, Site, new_pods};

/// A registry that answers every question with this status; its address, as an image's name begins with it.
pub(crate) async fn registry(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _gone = connection.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _gone = connection.write_all(answer.as_bytes()).await;
        }
    });
    address
}

impl Site {
    /// The namespace may have no pods.
    pub(crate) async fn forbid_all_by_quota(&self) {
        match self {
            Self::Fake(site) => site.refuses(
                Fault::fail_with(Failure::new(
                    403,
                    "Forbidden",
                    "pods \"wp-idbuild\" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0",
                ))
                .always(),
            ),
            Self::Real(_) => {
                let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
                self.create::<ResourceQuota>(quota).await;
                let counted = async || {
                    let quota = self.api::<ResourceQuota>().get("none").await.unwrap();
                    quota.status.is_some_and(|status| status.hard.is_some())
                };
                while !counted().await {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// A policy of the cluster is against the pods of the namespace.
    pub(crate) async fn forbid_all_by_policy(&self) {
        let says = "no builds on a Friday";
        match self {
            Self::Fake(site) => site.refuses(
                Fault::fail_with(Failure::new(
                    422,
                    "Invalid",
                    format!(
                        "pods \"wp-idbuild\" is forbidden: ValidatingAdmissionPolicy '{0}' with binding '{0}' denied request: {says}",
                        self.namespace()
                    ),
                ))
                .always(),
            ),
            Self::Real(site) => {
                let (name, rule) = (&site.namespace, new_pods());
                let validation = json!({"expression": "false", "message": says});
                site.everywhere::<ValidatingAdmissionPolicy>(json!({
                    "metadata": {"name": name},
                    "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}, "validations": [validation]},
                }))
                .await;
                let here = json!({"namespaceSelector": site.selector()});
                site.everywhere::<ValidatingAdmissionPolicyBinding>(json!({
                    "metadata": {"name": name},
                    "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here},
                }))
                .await;
                self.until_pods_are_refused(says).await;
            }
        }
    }

    /// Whoever should judge the pods of the namespace does not answer.
    pub(crate) async fn break_the_webhook(&self) {
        match self {
            Self::Fake(site) => site.refuses(
                Fault::fail_with(Failure::new(
                    500,
                    "InternalError",
                    "Internal error occurred: failed calling webhook \"judge.piculet.test\": failed to call webhook: Post \
                     \"https://127.0.0.1:1/?timeout=2s\": dial tcp 127.0.0.1:1: connect: connection refused",
                ))
                .always(),
            ),
            Self::Real(site) => {
                let (name, rule) = (&site.namespace, new_pods());
                site.everywhere::<ValidatingWebhookConfiguration>(json!({
                    "metadata": {"name": name},
                    "webhooks": [{
                        "name": "judge.piculet.test",
                        "clientConfig": {"url": "https://127.0.0.1:1/"},
                        "rules": [rule],
                        "namespaceSelector": site.selector(),
                        "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 2, "admissionReviewVersions": ["v1"],
                    }],
                }))
                .await;
                self.until_pods_are_refused("judge.piculet.test").await;
            }
        }
    }

    /// A policy takes a moment to count.
    async fn until_pods_are_refused(&self, words: &str) {
        // Such as the namespace takes: its level has its say first.
        let own = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let pod = json!({"metadata": {"generateName": "trial-"}, "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "busybox:stable", "securityContext": own}],
        }});
        let pod = serde_json::from_value(pod).unwrap();
        let trial = PostParams { dry_run: true, ..PostParams::default() };
        loop {
            match self.api::<Pod>().create(&trial, &pod).await {
                Err(error) if error.to_string().contains(words) => return,
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }

    /// The cluster changes each new pod of the namespace, by this JSON patch. Whether it can.
    pub(crate) async fn change_new_pods(&self, patch: Value) -> bool {
        // What is put into them asks for more than `restricted` takes.
        self.enforce("privileged").await;
        match self {
            Self::Fake(site) => {
                site.cluster.change_new_pods(patch);
                true
            }
            Self::Real(site) => site.change_new_pods(patch).await,
        }
    }
}

impl FakeSite {
    fn refuses(&self, fault: Fault) {
        self.cluster.faults().inject(fault.on(Verb::Create).of("pods"));
    }
}
