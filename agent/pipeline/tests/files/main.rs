//! Whole pipeline files through the compiler: our own, and real ones.

#![expect(clippy::unwrap_used, reason = "in a test, that is how it fails")]

mod corpus;
mod fixtures;
mod show;

use piculet_core::secret::Secret;
use piculet_pipeline::{Commit, Context, Event, Repository, Trusted};

/// A context like that of a server: a trusted repository, one commit.
fn context(event: Event) -> Context {
    Context {
        event,
        repository: Repository {
            owner: "acme".to_owned(),
            name: "shop".to_owned(),
            url: "https://git.example.org/acme/shop".to_owned(),
            default_branch: "main".to_owned(),
            trusted: Trusted::ALL,
            ..Repository::default()
        },
        commit: Commit {
            sha: "9f2c0d6e8b1a4c7f9f2c0d6e8b1a4c7f9f2c0d6e".to_owned(),
            branch: "main".to_owned(),
            tag: if event == Event::Tag { "v1.2.3".to_owned() } else { String::new() },
            message: "Fix it\n\nReally".to_owned(),
            ..Commit::default()
        },
        variables: [("VERSION".to_owned(), "1.2.3".to_owned()), ("TAG".to_owned(), "t".to_owned())].into(),
        secrets: [("registry_password", "p4ssw0rd"), ("deploy_token", "t0ps3cr3t-value")]
            .map(|(name, value)| (name.to_owned(), Secret::new(value)))
            .into(),
        id_prefix: "test".to_owned(),
        ..Context::default()
    }
}
