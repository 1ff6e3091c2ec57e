//! One API server, one namespace, and how patient to be with them.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource};

use crate::binding::Bindings;
use crate::client::{self, ConnectError, KubeSource};
use crate::{events, watch};

/// How patient to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long one request may take. Admission webhooks may take half a minute.
    pub request: Duration,
    /// How long one object or one question is tried for, over all requests.
    pub patience: Duration,
    /// How long to wait for the objects of a workflow to be gone, on top of the grace of its pods.
    pub teardown: Duration,
}

impl Default for Limits {
    /// Half a minute for a request, two minutes for all tries, one minute to be gone.
    fn default() -> Self {
        Self { request: Duration::from_secs(30), patience: Duration::from_secs(120), teardown: Duration::from_secs(60) }
    }
}

/// The namespace of a cluster that workflows run in. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    namespace: String,
    limits: Limits,
    /// Where the next backoff's randomness comes from.
    seed: AtomicU64,
    /// The one watch, while anybody uses it.
    watch: Mutex<Weak<watch::Shared>>,
    /// The one watch of events, while anybody uses it.
    events: Mutex<Weak<events::Shared>>,
    /// What was seen of storage classes.
    bindings: Mutex<Bindings>,
    /// The namespace is made if it doesn't exist.
    makes_namespace: bool,
}

impl Cluster {
    /// Reads the credentials. No request is made. Without a `namespace` it is the one that they name.
    ///
    /// # Errors
    /// If they can't be read or make no sense.
    pub async fn connect(source: &KubeSource, namespace: Option<&str>, limits: Limits) -> Result<Self, ConnectError> {
        let (client, default) = client::connect(source).await?;
        Ok(Self::new(client, namespace.unwrap_or(&default), limits))
    }

    /// Uses a client that is there.
    ///
    /// It must have no read timeout: that would end a log that is quiet for so long.
    pub fn new(client: Client, namespace: &str, limits: Limits) -> Self {
        let inner = Inner {
            client: client::with_retry_after(client),
            namespace: namespace.to_owned(),
            limits,
            seed: AtomicU64::new(RandomState::new().hash_one("backoff")),
            watch: Mutex::default(),
            events: Mutex::default(),
            bindings: Mutex::default(),
            makes_namespace: false,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Another namespace of the same cluster, with a watch of its own. It is made when it is needed: see
    /// [`Cluster::ensure_namespace`].
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        let inner = Inner {
            client: self.inner.client.clone(),
            namespace: namespace.to_owned(),
            limits: self.inner.limits.clone(),
            seed: AtomicU64::new(self.next_seed()),
            watch: Mutex::default(),
            events: Mutex::default(),
            bindings: Mutex::default(),
            makes_namespace: true,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the pauses between tries depend on this seed only. For simulations.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        self.inner.seed.store(seed, Ordering::Relaxed);
        self
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// How patient it is.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Whether the namespace is made if it doesn't exist.
    pub(crate) fn makes_namespace(&self) -> bool {
        self.inner.makes_namespace
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The objects of one kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.inner.client.clone(), &self.inner.namespace)
    }

    pub(crate) fn next_seed(&self) -> u64 {
        self.inner.seed.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn bindings<T>(&self, look: impl FnOnce(&mut Bindings) -> T) -> T {
        look(&mut self.inner.bindings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn events_slot(&self) -> &Mutex<Weak<events::Shared>> {
        &self.inner.events
    }

    pub(crate) fn watch_slot(&self) -> &Mutex<Weak<watch::Shared>> {
        &self.inner.watch
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("namespace", &self.inner.namespace)
            .field("limits", &self.inner.limits)
            .finish_non_exhaustive()
    }
}
