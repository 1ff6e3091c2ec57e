//! Roles that lack one right of those that the chart gives.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

/// One verb on one resource in the roles of one component of the chart.
#[derive(Debug, Clone)]
pub(super) struct Right {
    component: String,
    resource: String,
    verb: String,
}

impl Right {
    /// What `PICULET_E2E_WITHOUT` names: `COMPONENT RESOURCE VERB`, as in `steps pods/log get`.
    pub(super) fn left_out() -> Option<Self> {
        let named = super::variable("PICULET_E2E_WITHOUT")?;
        let [component, resource, verb] = named.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("PICULET_E2E_WITHOUT is '{named}'; it has to be COMPONENT RESOURCE VERB");
        };
        Some(Self { component: component.to_owned(), resource: resource.to_owned(), verb: verb.to_owned() })
    }

    /// Takes it from the roles of a release, and waits until that counts.
    pub(super) async fn take_from(&self, client: &Client, namespace: &str, release: &str) {
        let labels = format!("app.kubernetes.io/instance={release},app.kubernetes.io/component={}", self.component);
        let ours = ListParams::default().labels(&labels);
        let prefix = format!("{namespace}.");
        let mut taken = None;
        for mut role in Api::<Role>::all(client.clone()).list(&ours).await.unwrap() {
            if role.name_any().starts_with(&prefix) && self.leave_out(role.rules.as_mut()) {
                let (name, within) = (role.name_any(), role.namespace().unwrap());
                let roles = Api::<Role>::namespaced(client.clone(), &within);
                roles.replace(&name, &PostParams::default(), &role).await.unwrap();
                taken = Some(Some(within));
            }
        }
        for mut role in Api::<ClusterRole>::all(client.clone()).list(&ours).await.unwrap() {
            if role.name_any().starts_with(&prefix) && self.leave_out(role.rules.as_mut()) {
                let roles = Api::<ClusterRole>::all(client.clone());
                roles.replace(&role.name_any(), &PostParams::default(), &role).await.unwrap();
                taken = Some(None);
            }
        }
        let within = taken.unwrap_or_else(|| panic!("no role of the chart gives {self:?}"));
        let gone = async {
            while self.has(client, namespace, release, within.as_deref()).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), gone).await;
        assert!(waited.is_ok(), "{self:?} was taken away, and the account still has it");
    }

    /// Whether there was something to leave out.
    fn leave_out(&self, rules: Option<&mut Vec<PolicyRule>>) -> bool {
        let Some(rules) = rules else { return false };
        let mut found = false;
        // A rule may give more than one resource: those beside this one keep the verb.
        for mut rule in std::mem::take(rules) {
            let resources = rule.resources.get_or_insert_default();
            if !resources.contains(&self.resource) || !rule.verbs.contains(&self.verb) {
                rules.push(rule);
                continue;
            }
            found = true;
            resources.retain(|resource| *resource != self.resource);
            let verbs = rule.verbs.iter().filter(|verb| **verb != self.verb).cloned().collect();
            let lesser = PolicyRule { resources: Some(vec![self.resource.clone()]), verbs, ..rule.clone() };
            rules.extend([rule, lesser].into_iter().filter(|rule| {
                !rule.verbs.is_empty() && rule.resources.as_ref().is_some_and(|resources| !resources.is_empty())
            }));
        }
        found
    }

    async fn has(&self, client: &Client, namespace: &str, release: &str, within: Option<&str>) -> bool {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let account = match self.component.as_str() {
            "reap" | "retire" => format!("{release}-piculet-reap"),
            _ => format!("{release}-piculet"),
        };
        // What the chart's roles name: the namespace whose UID is the cluster's identity, and the release's own Deployment.
        let (group, name) = match resource {
            "namespaces" => ("", "kube-system".to_owned()),
            "deployments" => ("apps", format!("{release}-piculet")),
            _ => ("", String::new()),
        };
        let asked = json!({"spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "resourceAttributes": {
                "namespace": within.unwrap_or(&name), "name": name, "verb": self.verb,
                "group": group, "resource": resource, "subresource": subresource,
            },
        }});
        let asked: SubjectAccessReview = serde_json::from_value(asked).unwrap();
        let reviews = Api::<SubjectAccessReview>::all(client.clone());
        reviews.create(&PostParams::default(), &asked).await.unwrap().status.is_some_and(|status| status.allowed)
    }
}
