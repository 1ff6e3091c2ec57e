use super::{Agents, Owner, Refusal};

const SYSTEM: Option<&str> = Some("system");
const NOT_FOUND: Refusal = Refusal::Auth("AgentID not found in database");
const NOT_SYSTEM: Refusal = Refusal::Auth("the agent with this ID is not a system agent");
const NO_TOKEN: Refusal = Refusal::Auth("individual agent not found by token: sql: no rows in result set");

/// 1: a system agent; 2: a person's; 3: an organisation's.
fn agents() -> Agents {
    let mut agents = Agents::default();
    agents.auth(SYSTEM, "system", -1).expect("the token is right");
    agents.add_own("of-user", Owner::User(7));
    agents.add_own("of-org", Owner::Org(3));
    agents
}

#[test]
fn lets_agents_in_as_the_table_says() {
    for (system, token, id, expected) in [
        // The system token: -1 makes a new agent, everything else has to be one.
        (SYSTEM, "system", -1, Ok(4)),
        (SYSTEM, "system", 1, Ok(1)),
        (SYSTEM, "system", 0, Err(NOT_FOUND)),
        (SYSTEM, "system", 99, Err(NOT_FOUND)),
        (SYSTEM, "system", -2, Err(NOT_FOUND)),
        (SYSTEM, "system", 2, Err(NOT_SYSTEM)),
        (SYSTEM, "system", 3, Err(NOT_SYSTEM)),
        // An agent's own token: the id is ignored.
        (SYSTEM, "of-user", -1, Ok(2)),
        (SYSTEM, "of-user", 2, Ok(2)),
        (SYSTEM, "of-user", 1, Ok(2)),
        (SYSTEM, "of-org", 99, Ok(3)),
        // Nobody's token.
        (SYSTEM, "wrong", -1, Err(NO_TOKEN)),
        (SYSTEM, "wrong", 1, Err(NO_TOKEN)),
        (SYSTEM, "", -1, Err(NO_TOKEN)),
        // Without a system token, and with an empty one, which is none.
        (None, "system", -1, Err(NO_TOKEN)),
        (None, "of-user", -1, Ok(2)),
        (Some(""), "", -1, Err(NO_TOKEN)),
    ] {
        assert_eq!(agents().auth(system, token, id), expected, "{system:?} {token:?} {id}");
    }
}

#[test]
fn each_visitor_without_an_id_is_a_new_agent() {
    let mut agents = agents();
    let ids: Vec<_> = (0..3).map(|_| agents.auth(SYSTEM, "system", -1)).collect();
    assert_eq!(ids, [Ok(4), Ok(5), Ok(6)]);
    let new = agents.get(6).expect("it was just made");
    assert!(new.is_system());
    assert_eq!((new.capacity, new.name.as_str(), new.org_label().as_str()), (-1, "", "*"));
    assert_eq!(agents.get(3).expect("it was made first").org_label(), "3");
}

#[test]
fn a_number_is_not_used_twice() {
    let mut agents = agents();
    agents.auth(SYSTEM, "system", -1).expect("the token is right");
    agents.unregister(4).expect("it is there");
    assert_eq!(agents.auth(SYSTEM, "system", 4), Err(NOT_FOUND));
    assert_eq!(agents.auth(SYSTEM, "system", -1), Ok(5));
}

#[test]
fn only_system_agents_leave_for_good() {
    let mut agents = agents();
    for id in 1..=3 {
        agents.unregister(id).expect("it is there");
    }
    assert_eq!(agents.all().map(|agent| agent.id).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(agents.unregister(1), Err(Refusal::NoRow));
}

#[test]
fn work_is_written_down_once_a_minute() {
    let mut agents = agents();
    let agent = agents.get_mut(1).expect("it is there");
    for (now, written) in [(1000, 1000), (1059, 1000), (1060, 1060)] {
        agent.works(now);
        assert_eq!(agent.last_work, written);
    }
}
