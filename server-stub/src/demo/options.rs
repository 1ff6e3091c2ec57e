//! The demo's command line.

use std::path::PathBuf;

use clap::Args;

/// Run pipeline files here and now: server, agent and cluster in one process.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Woodpecker workflow files; without any a bundled example.
    pub files: Vec<PathBuf>,
    /// What happened: push, pull_request, tag, manual, cron and so on.
    #[arg(long, default_value = "push")]
    pub event: String,
    /// The branch; for a pull request the one that it is for.
    #[arg(long, default_value = "main")]
    pub branch: String,
    /// A variable for the files: --var CI_COMMIT_TAG=v1.2.3.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub vars: Vec<String>,
    /// A secret that the files may use.
    #[arg(long = "secret", value_name = "NAME=VALUE")]
    pub secrets: Vec<String>,
    /// A folder whose contents take the place of the clone.
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Show what plugins would get, in the place of running them; they count as succeeded, and are marked.
    #[arg(long)]
    pub simulate_plugins: bool,
    /// Steps see a network of their own, with nothing but their workflow in it.
    #[arg(long)]
    pub offline: bool,
    /// Run steps unprotected, with your own rights, where the machine does not allow to keep them apart.
    #[arg(long)]
    pub unsafe_host: bool,
    /// Run the pods on this real cluster.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "simulate_plugins", "offline", "unsafe_host"])]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace for that; it has to exist.
    #[arg(long, default_value = "default", requires = "kubeconfig")]
    pub namespace: String,
    /// Seconds that each workflow may take.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
    /// No colours, also on a terminal.
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_colour: bool,
    /// What the agent says about itself, on standard error: error, warn, info, debug.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
}
