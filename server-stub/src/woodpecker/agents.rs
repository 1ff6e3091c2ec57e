//! The agents' rows: who comes in with which token, and what is known of them.

use std::collections::BTreeMap;

use piculet_proto::woodpecker as pb;

use super::refusal::Refusal;

/// The id of no agent, owner or organisation.
const NOBODY: i64 = -1;
/// How often `last_work` is written. Seconds.
const LAST_WORK_PERIOD: i64 = 60;

/// Whose an agent with a token of its own is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A person's.
    User(i64),
    /// An organisation's: it runs only what is of that.
    Org(i64),
}

/// An agent, as the server's database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The row's number.
    pub id: i64,
    /// The person that it belongs to; -1: nobody.
    pub owner: i64,
    /// The organisation that it runs workflows of; -1: all.
    pub org: i64,
    /// By the host's name at the first registration.
    pub name: String,
    /// As registered.
    pub platform: String,
    /// As registered.
    pub backend: String,
    /// As registered.
    pub version: String,
    /// As registered; -1: not yet.
    pub capacity: i32,
    /// As registered.
    pub custom_labels: BTreeMap<String, String>,
    /// An administrator lets it have no work.
    pub no_schedule: bool,
    /// When it last reported health. Unix seconds; 0: never.
    pub last_contact: i64,
    /// When it last worked, to a minute. Unix seconds; 0: never.
    pub last_work: i64,
    token: String,
}

impl Agent {
    /// One that came in with the token of the installation.
    pub fn is_system(&self) -> bool {
        self.owner == NOBODY && self.org == NOBODY
    }

    /// What the server sets in its filter.
    pub(super) fn org_label(&self) -> String {
        if self.org == NOBODY { "*".to_owned() } else { self.org.to_string() }
    }

    /// Whether it may have what belongs to this organisation.
    pub(super) fn may_have(&self, org: i64) -> bool {
        self.org == NOBODY || self.org == org
    }

    pub(super) fn works(&mut self, now: i64) {
        if self.last_work + LAST_WORK_PERIOD <= now {
            self.last_work = now;
        }
    }

    pub(super) fn register(&mut self, info: pb::AgentInfo, hostname: Option<&str>) {
        if self.name.is_empty()
            && let Some(hostname) = hostname
        {
            hostname.clone_into(&mut self.name);
        }
        let pb::AgentInfo { platform, capacity, backend, version, custom_labels } = info;
        (self.platform, self.backend, self.version, self.capacity) = (platform, backend, version, capacity);
        self.custom_labels = custom_labels.into_iter().collect();
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Agents {
    rows: BTreeMap<i64, Agent>,
    last_id: i64,
}

impl Agents {
    /// Lets an agent in, by the rules of `Auth`. With the system token, -1 makes a new row each time.
    ///
    /// # Errors
    /// If the token is wrong, or the id is none of the installation's own agents.
    pub fn auth(&mut self, system_token: Option<&str>, token: &str, id: i64) -> Result<i64, Refusal> {
        if system_token.is_some_and(|system| !system.is_empty() && system == token) {
            return match self.rows.get(&id) {
                _ if id == NOBODY => Ok(self.add(token, NOBODY, NOBODY)),
                None => Err(Refusal::Auth("AgentID not found in database")),
                Some(agent) if !agent.is_system() => Err(Refusal::Auth("the agent with this ID is not a system agent")),
                Some(agent) => Ok(agent.id),
            };
        }
        let own = self.rows.values().find(|agent| !token.is_empty() && !agent.is_system() && agent.token == token);
        own.map(|agent| agent.id)
            .ok_or(Refusal::Auth("individual agent not found by token: sql: no rows in result set"))
    }

    /// An agent with a token of its own, as somebody makes one in the web interface.
    pub fn add_own(&mut self, token: &str, owner: Owner) -> i64 {
        match owner {
            Owner::User(user) => self.add(token, user, NOBODY),
            Owner::Org(org) => self.add(token, NOBODY, org),
        }
    }

    fn add(&mut self, token: &str, owner: i64, org: i64) -> i64 {
        self.last_id += 1;
        let agent = Agent {
            id: self.last_id,
            owner,
            org,
            name: String::new(),
            platform: String::new(),
            backend: String::new(),
            version: String::new(),
            capacity: -1,
            custom_labels: BTreeMap::new(),
            no_schedule: false,
            last_contact: 0,
            last_work: 0,
            token: token.to_owned(),
        };
        self.rows.insert(agent.id, agent);
        self.last_id
    }

    /// The row with this number.
    ///
    /// # Errors
    /// If there is none: the agent is gone for good.
    pub fn get(&self, id: i64) -> Result<&Agent, Refusal> {
        self.rows.get(&id).ok_or(Refusal::NoRow)
    }

    pub(super) fn get_mut(&mut self, id: i64) -> Result<&mut Agent, Refusal> {
        self.rows.get_mut(&id).ok_or(Refusal::NoRow)
    }

    /// The agent goes for good. One with a token of its own stays.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn unregister(&mut self, id: i64) -> Result<(), Refusal> {
        if self.get(id)?.is_system() {
            self.rows.remove(&id);
        }
        Ok(())
    }

    /// An administrator deletes a row.
    pub(super) fn delete(&mut self, id: i64) {
        self.rows.remove(&id);
    }

    /// All rows, by their numbers.
    pub fn all(&self) -> impl Iterator<Item = &Agent> {
        self.rows.values()
    }
}

#[cfg(test)]
mod tests;
