//! Which agent gets a workflow: the best fit by labels, among those the one with the least load. Nothing but values.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use piculet_core::id::InstanceId;

use crate::labels::{self, Mismatch, Offer};

/// An agent as placement sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Which instance.
    pub instance: &'a InstanceId,
    /// Its name, for people.
    pub name: &'a str,
    /// The name of its cluster.
    pub cluster: &'a str,
    /// How much of its cluster is in use.
    pub cluster_use: Use,
    /// Its labels and platforms.
    pub offer: Offer<'a>,
    /// Whether it can be given anything.
    pub presence: Presence,
    /// How many more workflows it may be given now: its credit.
    pub free: u32,
    /// How many workflows it has.
    pub load: u32,
    /// How many it runs at most.
    pub capacity: u32,
    /// What it said when it refused this very workflow.
    pub refused: Option<&'a str>,
}

/// How much of something is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Workflows that it has.
    pub load: u64,
    /// How many it runs at most.
    pub capacity: u64,
}

impl Use {
    /// In parts of a million, so that it can be ordered.
    fn parts(self) -> u64 {
        self.load * 1_000_000 / self.capacity.max(1)
    }
}

/// Whether an agent can be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Connected, and takes work.
    Ready,
    /// Connected, and takes no more work.
    Draining,
    /// Not connected.
    Away,
}

/// Why one agent doesn't get a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The agent's name.
    pub agent: String,
    /// The name of its cluster.
    pub cluster: String,
    /// The reason.
    pub reason: Reason,
}

/// A reason why an agent doesn't get a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Its labels or platforms don't fit. Waiting doesn't help.
    Labels(Mismatch),
    /// It refused this workflow. Waiting doesn't help.
    Refused(String),
    /// It is not connected.
    Away,
    /// It takes no more work.
    Draining,
    /// It is full.
    NoFreeSlot,
}

/// Finds the agent that gets a workflow with these labels.
///
/// # Errors
/// If none can take it now: one reason for each candidate, in their order.
pub fn place<'a>(
    wanted: &BTreeMap<String, String>,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
) -> Result<&'a InstanceId, Vec<Unfit>> {
    let mut unfit = Vec::new();
    let mut best: Option<(Rank<'a>, &'a InstanceId)> = None;
    for candidate in candidates {
        match judge(wanted, &candidate) {
            Ok(rank) => {
                if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    best = Some((rank, candidate.instance));
                }
            }
            Err(reason) => {
                let (agent, cluster) = (candidate.name.to_owned(), candidate.cluster.to_owned());
                unfit.push(Unfit { agent, cluster, reason });
            }
        }
    }
    best.map(|(_, instance)| instance).ok_or(unfit)
}

/// Whether agents refused a workflow, and waiting for those that there are doesn't help.
pub fn is_refused(unfit: &[Unfit]) -> bool {
    let refused = unfit.iter().any(|unfit| matches!(unfit.reason, Reason::Refused(_)));
    refused && !unfit.iter().any(|unfit| unfit.reason.may_pass())
}

/// Smaller is better: a higher score, then a smaller part of the cluster in use, then of the agent, then more free
/// slots, then the id, so that the choice never depends on the order of the candidates.
type Rank<'a> = (Reverse<u32>, u64, u64, Reverse<u32>, &'a InstanceId);

fn judge<'a>(wanted: &BTreeMap<String, String>, candidate: &Candidate<'a>) -> Result<Rank<'a>, Reason> {
    let score = labels::score(wanted, candidate.offer).map_err(Reason::Labels)?;
    if let Some(refused) = candidate.refused {
        return Err(Reason::Refused(refused.to_owned()));
    }
    match candidate.presence {
        Presence::Away => return Err(Reason::Away),
        Presence::Draining => return Err(Reason::Draining),
        Presence::Ready => {}
    }
    if candidate.free == 0 {
        return Err(Reason::NoFreeSlot);
    }
    let own = Use { load: candidate.load.into(), capacity: candidate.capacity.into() };
    Ok((Reverse(score), candidate.cluster_use.parts(), own.parts(), Reverse(candidate.free), candidate.instance))
}

impl Reason {
    /// Whether the same agent could take the workflow later.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Labels(_) | Self::Refused(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(mismatch) => mismatch.fmt(f),
            Self::Refused(reason) => write!(f, "it refused: {reason}"),
            Self::Away => f.write_str("it is not connected"),
            Self::Draining => f.write_str("it takes no more work"),
            Self::NoFreeSlot => f.write_str("it has no free slot"),
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent '{}' of cluster '{}': {}", self.agent, self.cluster, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Presence, Reason, Use, place};
    use crate::labels::Offer;
    use piculet_core::id::InstanceId;
    use std::collections::BTreeMap;

    #[derive(Clone)]
    struct Agent {
        instance: InstanceId,
        cluster: &'static str,
        labels: BTreeMap<String, String>,
        presence: Presence,
        free: u32,
        load: u32,
        capacity: u32,
        refused: Option<&'static str>,
    }

    fn agent(name: &str, load: u32, capacity: u32) -> Agent {
        Agent {
            instance: InstanceId::new(name),
            cluster: "",
            labels: BTreeMap::new(),
            presence: Presence::Ready,
            free: capacity - load,
            load,
            capacity,
            refused: None,
        }
    }

    fn labelled(mut agent: Agent, key: &str, value: &str) -> Agent {
        agent.labels.insert(key.to_owned(), value.to_owned());
        agent
    }

    fn choose(wanted: &[(&str, &str)], agents: &[Agent]) -> Result<String, Vec<Reason>> {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let use_of = |cluster: &str| {
            let agents = agents.iter().filter(|agent| agent.cluster == cluster);
            agents.fold(Use::default(), |sum, agent| Use {
                load: sum.load + u64::from(agent.load),
                capacity: sum.capacity + u64::from(agent.capacity),
            })
        };
        let candidates = agents.iter().map(|agent| Candidate {
            instance: &agent.instance,
            name: agent.instance.as_str(),
            cluster: agent.cluster,
            cluster_use: use_of(agent.cluster),
            offer: Offer { labels: &agent.labels, platforms: &[] },
            presence: agent.presence,
            free: agent.free,
            load: agent.load,
            capacity: agent.capacity,
            refused: agent.refused,
        });
        place(&wanted, candidates)
            .map(|instance| instance.as_str().to_owned())
            .map_err(|unfit| unfit.into_iter().map(|unfit| unfit.reason).collect())
    }

    #[test]
    fn the_best_fit_wins_over_the_least_load() {
        let exact = labelled(agent("exact", 3, 4), "gpu", "yes");
        let any = labelled(agent("any", 0, 4), "gpu", "*");
        assert_eq!(choose(&[("gpu", "yes")], &[any, exact]).as_deref(), Ok("exact"));
    }

    #[test]
    fn load_is_spread_by_the_part_of_the_capacity_in_use() {
        for (agents, expected) in [
            (vec![agent("a", 1, 2), agent("b", 1, 4)], "b"),
            (vec![agent("a", 0, 1), agent("b", 1, 10)], "a"),
            (vec![agent("a", 0, 1), agent("b", 0, 10)], "b"),
            (vec![agent("b", 0, 2), agent("a", 0, 2)], "a"),
        ] {
            assert_eq!(choose(&[], &agents).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn clusters_are_filled_evenly_before_their_agents_are() {
        let of = |cluster, agent: Agent| Agent { cluster, ..agent };
        for (agents, expected) in [
            // One of five is in use there, and two of five here, though one of the agents has nothing.
            (vec![of("x", agent("a", 2, 4)), of("x", agent("b", 0, 1)), of("y", agent("c", 1, 5))], "c"),
            (vec![of("x", agent("a", 1, 4)), of("x", agent("b", 0, 1)), of("y", agent("c", 2, 5))], "b"),
            (vec![of("x", agent("a", 1, 2)), of("y", agent("b", 1, 2)), of("x", agent("c", 1, 2))], "a"),
        ] {
            assert_eq!(choose(&[], &agents).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn each_agent_has_its_reason() {
        let mut away = agent("away", 0, 1);
        away.presence = Presence::Away;
        let mut draining = agent("draining", 0, 1);
        draining.presence = Presence::Draining;
        let mut refused = agent("refused", 0, 1);
        refused.refused = Some("no rights");
        let full = agent("full", 1, 1);
        let reasons = choose(&[], &[away, draining, refused, full]).expect_err("none can take it");
        assert_eq!(reasons, [Reason::Away, Reason::Draining, Reason::Refused("no rights".into()), Reason::NoFreeSlot]);
        assert_eq!(reasons.iter().map(Reason::may_pass).collect::<Vec<_>>(), [true, true, false, true]);
        assert_eq!(choose(&[], &[]), Err(Vec::new()));
    }

    #[test]
    fn labels_come_before_all_else_in_a_reason() {
        let full = agent("full", 1, 1);
        let reasons = choose(&[("gpu", "yes")], &[full]).expect_err("there is no such label");
        assert!(matches!(reasons[..], [Reason::Labels(_)]), "{reasons:?}");
    }
}
