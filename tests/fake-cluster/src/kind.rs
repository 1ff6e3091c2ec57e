//! The kinds of object that the cluster stores, and how each is named and treated by the API.

use serde_json::Value;

use crate::failure::Failure;
use crate::quantity;

/// A kind of stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the Kubernetes kind of that name")]
pub enum Kind {
    ConfigMap,
    Event,
    Lease,
    Namespace,
    NetworkPolicy,
    Node,
    PersistentVolumeClaim,
    Pod,
    Secret,
    Service,
    ServiceAccount,
}

/// How the API treats a kind.
struct Traits {
    name: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    group: &'static str,
    version: &'static str,
    namespaced: bool,
    status: bool,
    /// An immediate delete answers with the object, not with a `Status`.
    returns_deleted: bool,
    /// A replace of what does not exist creates it.
    create_on_update: bool,
    /// A replace without a resourceVersion overwrites whatever is there.
    unconditional_update: bool,
}

const CORE: Traits = Traits {
    name: "",
    plural: "",
    singular: "",
    short: &[],
    group: "",
    version: "v1",
    namespaced: true,
    status: false,
    returns_deleted: false,
    create_on_update: false,
    unconditional_update: true,
};

static CONFIG_MAP: Traits =
    Traits { name: "ConfigMap", plural: "configmaps", singular: "configmap", short: &["cm"], ..CORE };
static EVENT: Traits =
    Traits { name: "Event", plural: "events", singular: "event", short: &["ev"], create_on_update: true, ..CORE };
static LEASE: Traits = Traits {
    name: "Lease",
    plural: "leases",
    singular: "lease",
    group: "coordination.k8s.io",
    create_on_update: true,
    unconditional_update: false,
    ..CORE
};
static NAMESPACE: Traits = Traits {
    name: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short: &["ns"],
    namespaced: false,
    status: true,
    returns_deleted: true,
    ..CORE
};
static NETWORK_POLICY: Traits = Traits {
    name: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short: &["netpol"],
    group: "networking.k8s.io",
    ..CORE
};
static NODE: Traits =
    Traits { name: "Node", plural: "nodes", singular: "node", short: &["no"], namespaced: false, status: true, ..CORE };
static CLAIM: Traits = Traits {
    name: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short: &["pvc"],
    status: true,
    returns_deleted: true,
    ..CORE
};
static POD: Traits = Traits {
    name: "Pod",
    plural: "pods",
    singular: "pod",
    short: &["po"],
    status: true,
    returns_deleted: true,
    ..CORE
};
static SECRET: Traits = Traits { name: "Secret", plural: "secrets", singular: "secret", ..CORE };
static SERVICE: Traits = Traits {
    name: "Service",
    plural: "services",
    singular: "service",
    short: &["svc"],
    status: true,
    returns_deleted: true,
    create_on_update: true,
    ..CORE
};
static SERVICE_ACCOUNT: Traits = Traits {
    name: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short: &["sa"],
    returns_deleted: true,
    ..CORE
};

impl Kind {
    /// Every kind, in the order of their names.
    pub const ALL: [Self; 11] = [
        Self::ConfigMap,
        Self::Event,
        Self::Lease,
        Self::Namespace,
        Self::NetworkPolicy,
        Self::Node,
        Self::PersistentVolumeClaim,
        Self::Pod,
        Self::Secret,
        Self::Service,
        Self::ServiceAccount,
    ];

    fn traits(self) -> &'static Traits {
        match self {
            Self::ConfigMap => &CONFIG_MAP,
            Self::Event => &EVENT,
            Self::Lease => &LEASE,
            Self::Namespace => &NAMESPACE,
            Self::NetworkPolicy => &NETWORK_POLICY,
            Self::Node => &NODE,
            Self::PersistentVolumeClaim => &CLAIM,
            Self::Pod => &POD,
            Self::Secret => &SECRET,
            Self::Service => &SERVICE,
            Self::ServiceAccount => &SERVICE_ACCOUNT,
        }
    }

    /// `Pod`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// `pods`.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.traits().plural
    }

    /// `pod`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        self.traits().singular
    }

    pub(crate) fn short(self) -> &'static [&'static str] {
        self.traits().short
    }

    /// The API group: empty for the core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        self.traits().group
    }

    /// `v1`, or `coordination.k8s.io/v1`.
    #[must_use]
    pub fn api_version(self) -> String {
        if self.group().is_empty() {
            self.traits().version.to_owned()
        } else {
            format!("{}/{}", self.group(), self.traits().version)
        }
    }

    /// `pods`, or `leases.coordination.k8s.io`.
    #[must_use]
    pub fn qualified(self) -> String {
        if self.group().is_empty() { self.plural().to_owned() } else { format!("{}.{}", self.plural(), self.group()) }
    }

    /// Whether its objects live in a namespace.
    #[must_use]
    pub fn namespaced(self) -> bool {
        self.traits().namespaced
    }

    /// Whether it has a `status` subresource.
    #[must_use]
    pub fn has_status(self) -> bool {
        self.traits().status
    }

    pub(crate) fn returns_deleted(self) -> bool {
        self.traits().returns_deleted
    }

    pub(crate) fn create_on_update(self) -> bool {
        self.traits().create_on_update
    }

    pub(crate) fn unconditional_update(self) -> bool {
        self.traits().unconditional_update
    }

    pub(crate) fn by_plural(group: &str, plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.group() == group && kind.plural() == plural)
    }

    /// Reads `object` as this kind and writes it again: fields that the kind does not have are dropped, as a server
    /// does, and a value of the wrong type is refused.
    pub(crate) fn decode(self, object: Value) -> Result<Value, Failure> {
        use k8s_openapi::api::{coordination::v1 as coordination, core::v1 as core, networking::v1 as networking};
        let expected = self.api_version();
        for (field, want) in [("apiVersion", expected.as_str()), ("kind", self.name())] {
            match object.get(field).and_then(Value::as_str) {
                None | Some("") => {}
                Some(got) if got == want => {}
                Some(got) => {
                    let what = if field == "kind" { "kind" } else { "API version" };
                    return Err(Failure::bad_request(format!(
                        "the {what} in the data ({got}) does not match the expected {what} ({want})"
                    )));
                }
            }
        }
        quantity::check(self, &object)?;
        let decoded = match self {
            Self::ConfigMap => again::<core::ConfigMap>(object),
            Self::Event => again::<core::Event>(object),
            Self::Lease => again::<coordination::Lease>(object),
            Self::Namespace => again::<core::Namespace>(object),
            Self::NetworkPolicy => again::<networking::NetworkPolicy>(object),
            Self::Node => again::<core::Node>(object),
            Self::PersistentVolumeClaim => again::<core::PersistentVolumeClaim>(object),
            Self::Pod => again::<core::Pod>(object),
            Self::Secret => again::<core::Secret>(object),
            Self::Service => again::<core::Service>(object),
            Self::ServiceAccount => again::<core::ServiceAccount>(object),
        };
        decoded.map_err(|error| {
            Failure::bad_request(format!(
                "{name} in version {version:?} cannot be handled as a {name}: json: {error}",
                name = self.name(),
                version = self.traits().version,
            ))
        })
    }
}

fn again<T: serde::Serialize + serde::de::DeserializeOwned>(object: Value) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_value::<T>(object)?)
}
