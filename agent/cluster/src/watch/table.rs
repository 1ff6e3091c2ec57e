//! What the watch knows, and who wants to hear of it: a value without a clock or a socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::{Interest, PodNews};

/// How many deleted pods are remembered, so that a late answer doesn't bring one back.
const REMEMBERED: usize = 1024;

/// The pods of a namespace, as last seen, and what each subscriber was not told yet.
#[derive(Debug, Default)]
pub(super) struct Table {
    pods: BTreeMap<Uid, Arc<Pod>>,
    /// The pods that a list has shown so far; `None` if there is no list under way.
    listed: Option<BTreeSet<Uid>>,
    deleted: VecDeque<Uid>,
    subscribers: BTreeMap<u64, Subscriber>,
    next_subscriber: u64,
}

type Uid = Arc<str>;

#[derive(Debug)]
struct Subscriber {
    interest: Interest,
    /// Pods that it has to hear of, in the order in which they changed first.
    order: VecDeque<Uid>,
    /// The newest that there is to say of each. Never more than the pods that it is interested in.
    news: BTreeMap<Uid, PodNews>,
}

/// The subscribers that have something new to hear.
pub(super) type Woken = Vec<u64>;

impl Table {
    /// Registers a subscriber. It has to hear of all pods that are known.
    pub(super) fn subscribe(&mut self, interest: Interest) -> u64 {
        let id = self.next_subscriber;
        self.next_subscriber += 1;
        let mut subscriber = Subscriber { interest, order: VecDeque::new(), news: BTreeMap::new() };
        for (uid, pod) in &self.pods {
            if subscriber.interest.takes(pod) {
                subscriber.hear(uid, PodNews::Present(pod.clone()));
            }
        }
        self.subscribers.insert(id, subscriber);
        id
    }

    pub(super) fn unsubscribe(&mut self, id: u64) {
        self.subscribers.remove(&id);
    }

    /// The next news of a subscriber.
    pub(super) fn take(&mut self, id: u64) -> Option<PodNews> {
        let subscriber = self.subscribers.get_mut(&id)?;
        let uid = subscriber.order.pop_front()?;
        subscriber.news.remove(&uid)
    }

    /// A pod as it was seen now.
    pub(super) fn applied(&mut self, pod: Pod) -> Woken {
        let Some(uid) = uid(&pod) else { return Woken::new() };
        if let Some(listed) = &mut self.listed {
            listed.insert(uid.clone());
        }
        let version = &pod.metadata.resource_version;
        if self.pods.get(&uid).is_some_and(|known| version.is_some() && known.metadata.resource_version == *version) {
            return Woken::new();
        }
        let pod = Arc::new(pod);
        self.pods.insert(uid.clone(), pod.clone());
        self.tell(&uid, &PodNews::Present(pod))
    }

    /// A pod as the answer to its creation showed it. Unlike [`Table::applied`] it may be older than what is known.
    ///
    /// With it the next list misses a pod that came and went while the watch was broken.
    pub(super) fn created(&mut self, pod: Pod) -> Woken {
        match uid(&pod) {
            Some(uid) if !self.pods.contains_key(&uid) && !self.deleted.contains(&uid) => self.applied(pod),
            _ => Woken::new(),
        }
    }

    /// The watch no longer shows a pod; this was the last it showed.
    pub(super) fn deleted(&mut self, pod: Pod) -> Woken {
        match uid(&pod) {
            Some(uid) => self.absent(&uid, Arc::new(pod), true),
            None => Woken::new(),
        }
    }

    /// A list begins: what it shows comes through [`Table::applied`].
    pub(super) fn list_begins(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// The list is complete: whatever it didn't show is absent.
    pub(super) fn list_ends(&mut self) -> Woken {
        let listed = self.listed.take().unwrap_or_default();
        let missing: Vec<_> = self
            .pods
            .iter()
            .filter(|(uid, _)| !listed.contains(*uid))
            .map(|(uid, pod)| (uid.clone(), pod.clone()))
            .collect();
        let mut woken = Woken::new();
        for (uid, last) in missing {
            woken.extend(self.absent(&uid, last, false));
        }
        woken
    }

    /// How many subscribers there are.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscribers.len()
    }

    /// How many pods are known.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    fn absent(&mut self, uid: &Uid, last: Arc<Pod>, witnessed: bool) -> Woken {
        self.pods.remove(uid);
        if self.deleted.len() == REMEMBERED {
            self.deleted.pop_front();
        }
        self.deleted.push_back(uid.clone());
        self.tell(uid, &PodNews::Absent { last, witnessed })
    }

    fn tell(&mut self, uid: &Uid, news: &PodNews) -> Woken {
        let mut woken = Woken::new();
        for (id, subscriber) in &mut self.subscribers {
            if subscriber.interest.takes(news.pod()) {
                subscriber.hear(uid, news.clone());
                woken.push(*id);
            }
        }
        woken
    }
}

impl Subscriber {
    fn hear(&mut self, uid: &Uid, news: PodNews) {
        if self.news.insert(uid.clone(), news).is_none() {
            self.order.push_back(uid.clone());
        }
    }
}

impl Interest {
    fn takes(&self, pod: &Pod) -> bool {
        match self {
            Self::Label { key, value } => {
                pod.metadata.labels.as_ref().is_some_and(|labels| labels.get(*key) == Some(value))
            }
            Self::Pod(uid) => pod.metadata.uid.as_deref() == Some(uid.as_str()),
        }
    }
}

fn uid(pod: &Pod) -> Option<Uid> {
    pod.metadata.uid.as_deref().map(Uid::from)
}

#[cfg(test)]
mod tests;
