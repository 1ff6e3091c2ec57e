//! What a URL means.

use http::Method;

use crate::kind::Kind;

/// A verb of the API, in the words that roles use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the verb of that name")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    /// The verb as a role writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Objects of a kind, or one, or a part of one.
    Resource(Resource),
    /// `selfsubjectaccessreviews`.
    AccessReview,
    /// `selfsubjectrulesreviews`.
    RulesReview,
    /// Everything that is not a resource: `/version`, `/healthz`, discovery.
    Plain(String),
}

/// Objects of a kind, or one, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// Empty: of all namespaces, or a kind without any.
    pub(super) namespace: String,
    /// Empty: the collection.
    pub(super) name: String,
    /// Empty: the object itself.
    pub(super) part: String,
}

impl Resource {
    /// `pods`, or `pods/log`.
    pub(super) fn resource(&self) -> String {
        if self.part.is_empty() {
            self.kind.plural().to_owned()
        } else {
            format!("{}/{}", self.kind.plural(), self.part)
        }
    }
}

/// Reads a path; `None` if the API has no such resource.
pub(super) fn read(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, "v1", rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return Some(Target::Plain(format!("/{}", parts.join("/")))),
    };
    if group == "authorization.k8s.io" {
        return match rest {
            ["selfsubjectaccessreviews"] => Some(Target::AccessReview),
            ["selfsubjectrulesreviews"] => Some(Target::RulesReview),
            _ => None,
        };
    }
    let (namespace, rest) = match rest {
        // A namespace itself, or its `status` or `finalize`.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, part) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, part] => (*plural, *name, *part),
        _ => return None,
    };
    let kind = Kind::by_plural(group, plural)?;
    let one_of_all_namespaces = kind.namespaced() && namespace.is_empty() && !name.is_empty();
    let namespaced_wrongly = !kind.namespaced() && !namespace.is_empty();
    let part_known = match part {
        "" => true,
        "status" => kind.has_status(),
        "log" | "eviction" => kind == Kind::Pod,
        "finalize" => kind == Kind::Namespace,
        _ => false,
    };
    (part_known && !one_of_all_namespaces && !namespaced_wrongly)
        .then(|| Target::Resource(Resource { kind, namespace: namespace.into(), name: name.into(), part: part.into() }))
}

/// The verb of a request for a resource; `None` if the method is not allowed there.
pub(super) fn verb(method: &Method, resource: &Resource, watch: bool) -> Option<Verb> {
    let collection = resource.name.is_empty();
    Some(match (method, resource.part.as_str()) {
        (&Method::GET, "") if collection && watch => Verb::Watch,
        (&Method::GET, "") if collection => Verb::List,
        (&Method::GET, "" | "status" | "log") => Verb::Get,
        (&Method::POST, "") if collection => Verb::Create,
        (&Method::POST, "eviction") => Verb::Create,
        (&Method::PUT, "" | "status" | "finalize") if !collection => Verb::Update,
        (&Method::PATCH, "" | "status") if !collection => Verb::Patch,
        (&Method::DELETE, "") if collection => Verb::DeleteCollection,
        (&Method::DELETE, "") => Verb::Delete,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> Option<Resource> {
        match read(path) {
            Some(Target::Resource(resource)) => Some(resource),
            _ => None,
        }
    }

    fn parts(path: &str) -> Option<(Kind, String, String, String)> {
        resource(path).map(|found| (found.kind, found.namespace, found.name, found.part))
    }

    #[test]
    fn paths_name_objects() {
        let expect = |kind, namespace: &str, name: &str, part: &str| {
            Some((kind, namespace.to_owned(), name.to_owned(), part.to_owned()))
        };
        assert_eq!(parts("/api/v1/namespaces/ci/pods"), expect(Kind::Pod, "ci", "", ""));
        assert_eq!(parts("/api/v1/pods"), expect(Kind::Pod, "", "", ""));
        assert_eq!(parts("/api/v1/namespaces/ci/pods/a/log"), expect(Kind::Pod, "ci", "a", "log"));
        assert_eq!(parts("/api/v1/namespaces/ci"), expect(Kind::Namespace, "", "ci", ""));
        assert_eq!(parts("/api/v1/namespaces/ci/status"), expect(Kind::Namespace, "", "ci", "status"));
        assert_eq!(parts("/apis/coordination.k8s.io/v1/namespaces/ci/leases/l"), expect(Kind::Lease, "ci", "l", ""));
        for path in ["/api/v1/pods/a", "/api/v1/namespaces/ci/nodes", "/apis/apps/v1/deployments", "/api/v1/widgets"] {
            assert_eq!(parts(path), None, "{path}");
        }
    }

    #[test]
    fn methods_become_verbs() {
        let of = |method: Method, path: &str, watch: bool| verb(&method, &resource(path).expect("a resource"), watch);
        assert_eq!(of(Method::GET, "/api/v1/pods", true), Some(Verb::Watch));
        assert_eq!(of(Method::GET, "/api/v1/pods", false), Some(Verb::List));
        assert_eq!(of(Method::DELETE, "/api/v1/namespaces/ci/pods", false), Some(Verb::DeleteCollection));
        assert_eq!(of(Method::POST, "/api/v1/namespaces/ci/pods/a/eviction", false), Some(Verb::Create));
        assert_eq!(of(Method::PATCH, "/api/v1/namespaces/ci/pods", false), None);
    }
}
