//! The one registry of settings. Documentation, the file, the environment and the flags all read it.

use rustls::pki_types::ServerName;
use serde_json::Value;

use super::values::{read, read_bool, read_bytes, read_duration, read_labels, read_list, read_number, read_pause};
use super::{Colour, Config, LogFile, Protocol};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file, with dots: `server.address`.
    pub key: &'static str,
    /// What it is for, as a sentence.
    pub help: &'static str,
    /// What it is if nobody says anything, as it would be written.
    pub default: &'static str,
    /// Where it may stand.
    pub place: Place,
    /// Puts a value into the configuration, or says what is wrong with it.
    pub(super) set: fn(&mut Config, Value) -> Result<(), String>,
}

/// Where a setting may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the file, the environment and a flag.
    Anywhere,
    /// In the environment alone: a secret must not be in a file that errors quote, nor in an argument that others see.
    Environment,
}

impl Setting {
    /// The environment variable: `PICULET_SERVER_ADDRESS`.
    pub fn variable(&self) -> String {
        format!("PICULET_{}", self.key.replace('.', "_").to_uppercase())
    }
}

macro_rules! setting {
    ($key:literal, $default:literal, $help:literal, $set:expr) => {
        Setting { key: $key, help: $help, default: $default, place: Place::Anywhere, set: $set }
    };
}

/// All settings, in the order of the documentation. What the pods look like stands in `pods`, as one block.
pub const SETTINGS: &[Setting] = &[
    setting!(
        "server.protocol",
        "`woodpecker` if `WOODPECKER_SERVER`, `WOODPECKER_AGENT_SECRET` or `WOODPECKER_AGENT_SECRET_FILE` is set, else `stream`",
        "What the server speaks: `stream`, piculet's own, or `woodpecker`; see [woodpecker.md](woodpecker.md).",
        // It decides about the other defaults, so it was looked at before.
        |_, v| read::<Protocol>(v).map(drop)
    ),
    setting!(
        "server.address",
        "`localhost:9000` with `woodpecker`",
        "The server: `https://host:port`, or `http://host:port` without TLS. Required with `stream`. With `woodpecker` also a target of gRPC: `host:port` (without a port 443), `dns:///host:port`, `unix:///path`.",
        |c, v| c.server.address.put(&read::<String>(v)?)
    ),
    setting!(
        "server.tls",
        "`false`, or what the address says",
        "Whether the connection is encrypted, for an address of the protocol `woodpecker` that has neither `https://` nor `http://`.",
        |c, v| c.server.address.encrypt(read_bool(&v)?)
    ),
    Setting {
        key: "server.token",
        help: "The agent's token.",
        default: "",
        place: Place::Environment,
        set: |c, v| {
            c.server.token = Some(read(v)?);
            Ok(())
        },
    },
    setting!("server.token_file", "", "A file with the agent's token; outer white space is ignored.", |c, v| {
        c.server.token_file = read(v)?;
        Ok(())
    }),
    setting!("server.ca_file", "", "PEM certificates to trust instead of the machine's.", |c, v| {
        c.server.ca_file = read(v)?;
        Ok(())
    }),
    setting!(
        "server.tls_name",
        "the host of the address",
        "The name that the server's certificate must have, if it is dialed under another one.",
        |c, v| {
            let name: String = read(v)?;
            if let Err(error) = ServerName::try_from(name.as_str()) {
                return Err(format!("'{name}' is no name that a certificate can have: {error}"));
            }
            c.server.tls_name = Some(name);
            Ok(())
        }
    ),
    setting!("server.certificate_file", "", "PEM certificate to present to the server.", |c, v| {
        c.server.certificate_file = read(v)?;
        Ok(())
    }),
    setting!("server.key_file", "", "PEM key of that certificate.", |c, v| {
        c.server.key_file = read(v)?;
        Ok(())
    }),
    setting!(
        "server.skip_verify",
        "false",
        "Takes whatever certificate the server shows, so whoever answers in its place gets the token and all secrets. For the protocol `woodpecker` alone; `server.ca_file` is the better way.",
        |c, v| {
            c.server.skip_verify = read_bool(&v)?;
            Ok(())
        }
    ),
    setting!(
        "server.retry_timeout",
        "2m",
        "With the protocol `woodpecker`: how long a call that the server keeps answering with an error that may pass is repeated before it is given up; `0`: for ever. The beginning and the end of a workflow are repeated for 10 minutes at least. The time without a connection never counts.",
        |c, v| {
            c.server.retry_timeout = read_pause(&v)?;
            Ok(())
        }
    ),
    setting!(
        "server.keepalive_time",
        "30s",
        "How long nothing may be heard from the server before an HTTP/2 ping asks whether it is there. Servers close connections that are pinged too often: less than 20s counts as 20s, with the protocol `woodpecker` less than 10s as 10s.",
        |c, v| {
            c.server.keep_alive.time = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!(
        "server.keepalive_timeout",
        "20s",
        "How long the answer to such a ping may take before the connection counts as dead.",
        |c, v| {
            c.server.keep_alive.timeout = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!(
        "server.id_file",
        "`/etc/woodpecker/agent.conf` with `woodpecker`",
        "With the protocol `woodpecker`: the file in which the id that the server gave this agent is kept; empty: none, and the agent signs off when it ends.",
        |c, v| {
            c.server.id_file = Some(read::<String>(v)?).filter(|path| !path.is_empty()).map(Into::into);
            Ok(())
        }
    ),
    setting!("agent.name", "the machine's name", "The agent's name, for people; replicas may share it.", |c, v| {
        c.agent.name = read(v)?;
        Ok(())
    }),
    setting!(
        "agent.hostname",
        "the host name",
        "The machine's name: `CI_MACHINE` in steps; with the protocol `woodpecker` also the label `hostname`, and the name that the server shows.",
        |c, v| {
            c.agent.hostname = read(v)?;
            Ok(())
        }
    ),
    setting!(
        "agent.labels",
        "",
        "Labels that placement looks at. In a variable: `key=value,key=value`. `!key` is required of a workflow, `*` matches any value.",
        |c, v| {
            c.agent.labels = read_labels(v)?;
            Ok(())
        }
    ),
    setting!(
        "agent.max_workflows",
        "`4`; `1` with `woodpecker`",
        "How many workflows run at the same time.",
        |c, v| {
            c.agent.max_workflows = read_number(&v)?;
            if c.agent.max_workflows == 0 { Err("it must be at least 1".to_owned()) } else { Ok(()) }
        }
    ),
    setting!(
        "agent.single_workflow",
        "false",
        "Ends the agent after one workflow; `agent.max_workflows` is 1 then.",
        |c, v| {
            c.agent.single_workflow = read_bool(&v)?;
            Ok(())
        }
    ),
    setting!(
        "kubernetes.kubeconfig",
        "",
        "A kubeconfig file; without it the pod's service account, else `KUBECONFIG`.",
        |c, v| {
            c.kubernetes.kubeconfig = read(v)?;
            Ok(())
        }
    ),
    setting!("kubernetes.context", "the current one", "A context of the kubeconfig.", |c, v| {
        c.kubernetes.context = read(v)?;
        Ok(())
    }),
    setting!("kubernetes.cluster_name", "", "The operator's name for the cluster.", |c, v| {
        c.kubernetes.cluster_name = read(v)?;
        Ok(())
    }),
    setting!(
        "kubernetes.platforms",
        "those of the nodes",
        "Platforms that workflows may ask for, for example `[linux/amd64]`. One that asks for none runs on nodes of the agent's own architecture, unless a node selector says otherwise.",
        |c, v| {
            c.kubernetes.platforms = read_list(v)?;
            Ok(())
        }
    ),
    setting!("limits.workflow", "1h", "Time limit of a workflow that has none of its own.", |c, v| {
        c.limits.workflow = read_duration(&v)?;
        Ok(())
    }),
    setting!("limits.schedule", "10m", "How long a pod may wait for a node.", |c, v| {
        c.limits.schedule = read_duration(&v)?;
        Ok(())
    }),
    setting!("limits.pull", "10m", "How long a pod may wait for its image.", |c, v| {
        c.limits.pull = read_duration(&v)?;
        Ok(())
    }),
    setting!(
        "limits.pull_again",
        "1m",
        "How long a pod may wait for an image whose pull has failed; the kubelet tries again meanwhile.",
        |c, v| {
            c.limits.pull_again = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!(
        "limits.create",
        "5m",
        "How long a pod may wait for its container: volumes, configuration, sandbox.",
        |c, v| {
            c.limits.create = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!(
        "limits.explain",
        "10s",
        "How long a pod may wait before its step's log says for what; also the pause before it says something else.",
        |c, v| {
            c.limits.explain = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!("limits.log", "5m", "How long a log is read after its container ended.", |c, v| {
        c.limits.log = read_duration(&v)?;
        Ok(())
    }),
    setting!(
        "limits.service_grace",
        "5s",
        "What a service or detached step gets between SIGTERM and SIGKILL once nobody needs it any more, if `pods.stop_timeout_seconds` is longer; the workflow's end waits for it.",
        |c, v| {
            c.limits.service_grace = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!(
        "limits.lost",
        "2m",
        "How long after its grace a stopped pod may take before it counts as lost.",
        |c, v| {
            c.limits.lost = read_duration(&v)?;
            Ok(())
        }
    ),
    setting!("limits.creations", "5", "How often the pod of a step that never started is created at most.", |c, v| {
        c.limits.creations = read_number(&v)?;
        if c.limits.creations == 0 { Err("it must be at least 1".to_owned()) } else { Ok(()) }
    }),
    setting!(
        "logs.memory",
        "64Mi",
        "Memory for log lines that the server does not have yet, all steps together.",
        |c, v| {
            c.logs.memory = read_bytes(&v)?;
            if c.logs.memory < 4 << 20 { Err("it must be at least 4Mi".to_owned()) } else { Ok(()) }
        }
    ),
    setting!(
        "logs.disk",
        "1Gi",
        "Disk for log lines that `logs.memory` is too small for, all steps together, if `logs.directory` is set; `0`: none. Where both are full, lines are lost, and the log says so.",
        |c, v| {
            c.logs.disk = read_bytes(&v)? as u64;
            Ok(())
        }
    ),
    setting!(
        "logs.directory",
        "",
        "A directory for them, for example on an `emptyDir`; made if it does not exist. Agents may share one. Without it memory alone keeps lines.",
        |c, v| {
            c.logs.directory = read(v)?;
            Ok(())
        }
    ),
    setting!("logs.batch_period", "200ms", "How long a log line may wait for others to be sent with.", |c, v| {
        c.logs.batch_period = read_duration(&v)?;
        Ok(())
    }),
    setting!(
        "logs.in_flight",
        "1Mi",
        "How many bytes of logs may be on their way; more waits, so that states don't.",
        |c, v| {
            c.logs.in_flight = read_bytes(&v)?;
            if c.logs.in_flight < 64 << 10 { Err("it must be at least 64Ki".to_owned()) } else { Ok(()) }
        }
    ),
    setting!(
        "admin.address",
        ":3000",
        "Where `/livez`, `/readyz`, `/metrics`, `/healthz`, `/varz` and `/version` are served: `host:port`, or `:port` for all addresses of the machine; `off`: nowhere.",
        |c, v| {
            c.admin.address = match v.as_str() {
                Some("off") => None,
                Some(text) => {
                    Some(text.parse().map_err(|_| format!("{v} is no address; write :3000, 127.0.0.1:3000, or off"))?)
                }
                None => return Err(format!("{v} is no address; write :3000, 127.0.0.1:3000, or off")),
            };
            Ok(())
        }
    ),
    setting!(
        "log.level",
        "info",
        "error, warn, info, debug or trace; or directives such as `info,piculet=debug`.",
        |c, v| {
            c.log.level = read(v)?;
            tracing_subscriber::EnvFilter::try_new(&c.log.level).map_err(|error| error.to_string())?;
            Ok(())
        }
    ),
    setting!(
        "log.format",
        "`human`; with `woodpecker` `json`, if standard error is no terminal",
        "`human`, or `json` for one object per line.",
        |c, v| {
            c.log.format = read(v)?;
            Ok(())
        }
    ),
    setting!("log.file", "stderr", "Where the agent's own log goes: `stderr`, `stdout`, or a file.", |c, v| {
        c.log.file = match read::<String>(v)?.as_str() {
            "" => return Err("it must be stderr, stdout, or a file".to_owned()),
            "stderr" => LogFile::Stderr,
            "stdout" => LogFile::Stdout,
            path => LogFile::Path(path.into()),
        };
        Ok(())
    }),
    setting!("log.colour", "auto", "Colours in it: `on`, `off`, or `auto` for a terminal only.", |c, v| {
        c.log.colour = match &v {
            // The words of YAML that mean them.
            Value::Bool(true) => Colour::On,
            Value::Bool(false) => Colour::Off,
            _ => read(v)?,
        };
        Ok(())
    }),
    setting!(
        "shutdown.drain_timeout",
        "`1h`; `5s` with `woodpecker`",
        "How long running workflows may go on after SIGTERM.",
        |c, v| {
            c.shutdown.drain_timeout = read_duration(&v)?;
            Ok(())
        }
    ),
];
