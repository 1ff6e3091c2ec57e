//! What agents say of themselves.

use std::collections::{BTreeMap, HashMap};

use piculet_proto::woodpecker as pb;
use server_stub::woodpecker::Owner;
use tonic::Code;

use crate::agent::{Agent, pass, refused, server};

fn info(version: &str) -> pb::AgentInfo {
    pb::AgentInfo {
        platform: "linux/amd64".to_owned(),
        capacity: 4,
        backend: "kubernetes".to_owned(),
        version: version.to_owned(),
        custom_labels: HashMap::from([("region".to_owned(), "eu".to_owned())]),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_registered_replaces_what_was_but_the_name() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    assert_eq!(server.agents()[0].capacity, -1);
    // Without a name, it has none.
    assert_eq!(agent.register(info("1")).await.unwrap(), agent.id);
    assert_eq!(server.agents()[0].name, "");
    agent.clone().with("hostname", "first").register(info("2")).await.unwrap();
    agent.clone().with("hostname", "second").register(info("3")).await.unwrap();
    let row = server.agents().remove(0);
    assert_eq!((row.name.as_str(), row.version.as_str(), row.capacity), ("first", "3", 4));
    assert_eq!((row.platform.as_str(), row.backend.as_str()), ("linux/amd64", "kubernetes"));
    assert_eq!(row.custom_labels, BTreeMap::from([("region".to_owned(), "eu".to_owned())]));
    agent.register(pb::AgentInfo::default()).await.unwrap();
    assert_eq!((server.agents()[0].name.as_str(), server.agents()[0].platform.as_str()), ("first", ""));
}

#[tokio::test(start_paused = true)]
async fn health_is_reported_in_the_right_words_only() {
    let server = server();
    let agent = Agent::connect(&server.network()).await;
    for words in ["I am alive", "i am alive!", ""] {
        refused(agent.health(words).await, Code::Unknown, "Are you alive?");
    }
    assert_eq!(server.agents()[0].last_contact, 0);
    agent.health("I am alive!").await.unwrap();
    let first = server.agents()[0].last_contact;
    pass(10).await;
    agent.health("I am alive!").await.unwrap();
    assert_eq!((first > 0, server.agents()[0].last_contact - first), (true, 10));
}

#[tokio::test(start_paused = true)]
async fn only_a_system_agent_can_go_for_good() {
    let server = server();
    let network = server.network();
    server.add_agent_token("own-token", Owner::User(7));
    let system = Agent::connect(&network).await;
    let own = Agent::come_in(&network, "own-token", -1).await;
    system.unregister().await.unwrap();
    own.unregister().await.unwrap();
    assert_eq!(server.agents().iter().map(|agent| agent.id).collect::<Vec<_>>(), [own.id]);
    // Its token is good still, and of no use.
    refused(system.health("I am alive!").await, Code::Unknown, "sql: no rows in result set");
    refused(system.unregister().await, Code::Unknown, "sql: no rows in result set");
    system.version().await.unwrap();
    own.health("I am alive!").await.unwrap();
}
