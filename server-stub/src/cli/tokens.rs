//! `tokens`: who is let in as an agent.

use clap::Subcommand;
use server_stub::api::{CreatedToken, TokenList, TokenRequest, TokenView};

use super::client::{Target, segment};
use super::exit::{Exit, Failure};
use super::output::Output;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token for the agents of a cluster, and print it: it is shown this once.
    Create {
        /// The name by which the server knows the cluster.
        #[arg(long, value_name = "NAME")]
        cluster: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        target: Target,
    },
    /// List tokens, without the tokens themselves.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Let nobody in with a token any more. What its agents run goes on; they need another token to report it.
    Revoke {
        /// Its id, as `list` shows it.
        token: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Does it.
pub(super) async fn run(command: Command, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Create { cluster, note, target } => {
            let created: CreatedToken = target.client()?.post("/api/tokens", &TokenRequest { cluster, note }).await?;
            if output.is_json() {
                output.json(&created)?;
            } else {
                output.note(&format!(
                    "token {} for the agents of '{}'; it is shown this once:",
                    created.view.id, created.view.cluster
                ));
                output.line(created.token.expose())?;
            }
        }
        Command::List { target } => {
            let list: TokenList = target.client()?.get("/api/tokens").await?;
            if output.is_json() {
                output.json(&list)?;
            } else {
                show(&list.tokens, output)?;
            }
        }
        Command::Revoke { token, target } => {
            let path = format!("/api/tokens/{}/revoke", segment(&token));
            let view: TokenView = target.client()?.post(&path, &()).await?;
            if output.is_json() {
                output.json(&view)?;
            } else {
                show(&[view], output)?;
            }
        }
    }
    Ok(Exit::Done)
}

fn show(tokens: &[TokenView], output: &mut Output) -> Result<(), Failure> {
    let row = |token: &TokenView| {
        let revoked = token.revoked.map_or_else(String::new, |at| format!("{at:.0}"));
        [token.id.clone(), token.cluster.clone(), format!("{:.0}", token.created), revoked, token.note.clone()]
    };
    let rows: Vec<_> = tokens.iter().map(row).collect();
    output.table(["ID", "CLUSTER", "CREATED", "REVOKED", "NOTE"], &rows)
}
