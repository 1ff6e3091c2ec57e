//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Layers;
use crate::exit::Failure;

/// A Kubernetes agent for CI: runs workflows' steps as pods.
#[derive(Debug, Parser)]
#[command(name = "piculet", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until it is told to stop.
    Agent(Settings),
    /// Check the configuration, and say everything that is wrong with it.
    Check {
        /// Also ask the cluster which rights are missing.
        #[arg(long)]
        cluster: bool,
        /// The configuration.
        #[command(flatten)]
        settings: Settings,
    },
    /// Ask the agent on this machine whether it is healthy: for a container's health check.
    Ping(Settings),
    /// Remove what workflows left in the cluster whose time, with an hour of grace, would have been over twice.
    Reap {
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
        /// Remove everything that piculet made, also of workflows that run: before the last agent of a namespace goes.
        #[arg(long)]
        all: bool,
        /// First end the agents of this Deployment, in the pod's own namespace: they take no more workflows, and say how those
        /// ended that run.
        #[arg(long, value_name = "DEPLOYMENT", requires = "all", conflicts_with = "dry_run")]
        retire: Option<String>,
        /// How old objects without an anchor have to be: those of an agent that may make no ConfigMaps.
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        orphans_after: u32,
        /// The configuration.
        #[command(flatten)]
        settings: Settings,
    },
    /// Print every object that a pipeline or workload file would create, as YAML; values of secrets are left out.
    Plan {
        /// A Woodpecker pipeline file, or a workload file.
        file: PathBuf,
        /// What the file sees.
        #[command(flatten)]
        context: PipelineContext,
        /// The configuration.
        #[command(flatten)]
        settings: Settings,
    },
}

/// The configuration. Everything else of it has a variable, or is set with `--set`.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// YAML configuration file.
    #[arg(long, value_name = "FILE", env = "PICULET_CONFIG")]
    pub config: Option<PathBuf>,
    /// The server: https://host:port, or http:// without TLS.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// File with the agent's token.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<String>,
    /// The agent's name, for people.
    #[arg(long)]
    pub name: Option<String>,
    /// Labels for placement: key=value,key=value.
    #[arg(long)]
    pub labels: Option<String>,
    /// How many workflows run at the same time.
    #[arg(long, value_name = "N")]
    pub max_workflows: Option<String>,
    /// Kubeconfig file; without it the pod's service account, else KUBECONFIG.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Namespace that steps run in.
    #[arg(long)]
    pub namespace: Option<String>,
    /// Log level, or directives.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// human or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Any setting by its key: --set pods.storage_class=fast.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What `when` and the environment of a pipeline file see.
#[derive(Debug, Clone, Args)]
pub struct PipelineContext {
    /// What happened: push, pull_request, tag, manual, cron and so on.
    #[arg(long, default_value = "push")]
    pub event: String,
    /// The branch; for a pull request its target.
    #[arg(long, default_value = "main")]
    pub branch: String,
    /// A CI_* variable that the file sees: --var CI_COMMIT_TAG=v1.2.3.
    #[arg(long = "var", value_name = "KEY=VALUE")]
    pub vars: Vec<String>,
    /// A secret that the file may use: --secret TOKEN=value.
    #[arg(long = "secret", value_name = "KEY=VALUE")]
    pub secrets: Vec<String>,
}

impl Settings {
    /// Reads file, environment and flags, in the order in which they win.
    ///
    /// # Errors
    /// If the file can't be read. What is wrong in it is told when the layers are resolved.
    pub fn layers<'a>(&self, environment: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Layers, Failure> {
        let mut layers = Layers::default();
        let environment: Vec<_> = environment.into_iter().collect();
        // The command line sees the environment of the process, and not what stands in `.env`.
        let named =
            environment.iter().find_map(|(name, path)| (*name == "PICULET_CONFIG").then_some(PathBuf::from(path)));
        if let Some(path) = self.config.as_ref().or(named.as_ref()).filter(|path| !path.as_os_str().is_empty()) {
            let unreadable = |error| Failure::Unreadable { path: path.clone(), error };
            let text = std::fs::read_to_string(path).map_err(unreadable)?;
            layers.file(&path.display().to_string(), &text);
        }
        layers.environment(environment);
        let named = [
            ("--server", "server.address", &self.server),
            ("--token-file", "server.token_file", &self.token_file),
            ("--name", "agent.name", &self.name),
            ("--labels", "agent.labels", &self.labels),
            ("--max-workflows", "agent.max_workflows", &self.max_workflows),
            ("--kubeconfig", "kubernetes.kubeconfig", &self.kubeconfig),
            ("--namespace", "pods.namespace", &self.namespace),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        for (flag, key, value) in named {
            if let Some(value) = value {
                layers.flag(flag, key, value);
            }
        }
        for pair in &self.set {
            match pair.split_once('=') {
                Some((key, value)) => layers.flag("--set", key.trim(), value),
                None => layers.flag("--set", pair, ""),
            }
        }
        Ok(layers)
    }
}
