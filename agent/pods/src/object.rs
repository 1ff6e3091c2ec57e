//! One object of a workflow, whatever its kind.

use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

/// What stands in place of a secret value that is shown to people.
const HIDDEN: &str = "[secret]";

/// An object to create. `Debug` shows its kind and name only, since a Secret's values would be in the rest.
#[derive(Clone, PartialEq)]
pub enum Object {
    /// The anchor.
    ConfigMap(ConfigMap),
    /// Credentials, or secret variables.
    Secret(Secret),
    /// The headless Service.
    Service(Service),
    /// What keeps the steps apart from others.
    NetworkPolicy(Box<NetworkPolicy>),
    /// The workspace.
    PersistentVolumeClaim(PersistentVolumeClaim),
    /// An attempt at a step.
    Pod(Box<Pod>),
}

impl Object {
    /// The object's kind, in Kubernetes' words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConfigMap(_) => "ConfigMap",
            Self::Secret(_) => "Secret",
            Self::Service(_) => "Service",
            Self::NetworkPolicy(_) => "NetworkPolicy",
            Self::PersistentVolumeClaim(_) => "PersistentVolumeClaim",
            Self::Pod(_) => "Pod",
        }
    }

    /// The object's name. Never empty for what this crate makes.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// What all kinds have.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::ConfigMap(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::NetworkPolicy(object) => &object.metadata,
            Self::PersistentVolumeClaim(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
        }
    }

    /// The same, to be changed.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::ConfigMap(object) => &mut object.metadata,
            Self::Secret(object) => &mut object.metadata,
            Self::Service(object) => &mut object.metadata,
            Self::NetworkPolicy(object) => &mut object.metadata,
            Self::PersistentVolumeClaim(object) => &mut object.metadata,
            Self::Pod(object) => &mut object.metadata,
        }
    }

    /// Makes the owner the object's only one.
    pub fn set_owner(&mut self, owner: &OwnerReference) {
        self.metadata_mut().owner_references = Some(vec![owner.clone()]);
    }

    /// The object as the API server takes it, secret values included.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Self::ConfigMap(object) => serde_json::to_value(object),
            Self::Secret(object) => serde_json::to_value(object),
            Self::Service(object) => serde_json::to_value(object),
            Self::NetworkPolicy(object) => serde_json::to_value(object),
            Self::PersistentVolumeClaim(object) => serde_json::to_value(object),
            Self::Pod(object) => serde_json::to_value(object),
        };
        value.expect("the keys of these types are strings, which is all that JSON asks for")
    }

    /// The object as people may see it: the values of Secrets are hidden.
    pub fn to_public_value(&self) -> Value {
        let mut value = self.to_value();
        if matches!(self, Self::Secret(_)) {
            for field in ["data", "stringData"] {
                for value in
                    value.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut())
                {
                    *value = Value::from(HIDDEN);
                }
            }
        }
        value
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
    }
}

impl From<ConfigMap> for Object {
    fn from(object: ConfigMap) -> Self {
        Self::ConfigMap(object)
    }
}

impl From<Secret> for Object {
    fn from(object: Secret) -> Self {
        Self::Secret(object)
    }
}

impl From<Service> for Object {
    fn from(object: Service) -> Self {
        Self::Service(object)
    }
}

impl From<NetworkPolicy> for Object {
    fn from(object: NetworkPolicy) -> Self {
        Self::NetworkPolicy(Box::new(object))
    }
}

impl From<PersistentVolumeClaim> for Object {
    fn from(object: PersistentVolumeClaim) -> Self {
        Self::PersistentVolumeClaim(object)
    }
}

impl From<Pod> for Object {
    fn from(object: Pod) -> Self {
        Self::Pod(Box::new(object))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

    use super::Object;

    fn secret() -> Object {
        Object::from(Secret {
            metadata: ObjectMeta { name: Some("s".to_owned()), ..ObjectMeta::default() },
            data: Some(BTreeMap::from([("KEY".to_owned(), ByteString(b"hunter2".to_vec()))])),
            ..Secret::default()
        })
    }

    #[test]
    fn nothing_that_people_see_holds_a_secret() {
        assert_eq!(format!("{:?}", secret()), "Secret/s");
        assert_eq!(secret().to_value()["data"]["KEY"], "aHVudGVyMg==");
        let shown = secret().to_public_value();
        assert_eq!(shown["data"]["KEY"], "[secret]");
        assert_eq!(shown["kind"], "Secret");
    }

    #[test]
    fn an_owner_is_stamped_once() {
        let owner = OwnerReference { uid: "1".to_owned(), ..OwnerReference::default() };
        let mut object = secret();
        object.set_owner(&owner);
        object.set_owner(&owner);
        assert_eq!(object.metadata().owner_references, Some(vec![owner]));
    }
}
