//! The one registry of settings. Documentation, the file, the environment and the flags all read it.

use std::collections::BTreeMap;
use std::time::Duration;

use piculet_link::stream::BadAddress;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Config;

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
        "server.address",
        "",
        "The server: `https://host:port`, or `http://host:port` without TLS. Required.",
        |c, v| {
            c.server.address = read::<String>(v)?.parse().map_err(|error: BadAddress| error.to_string())?;
            Ok(())
        }
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
    setting!("agent.name", "the host name", "The agent's name, for people; replicas may share it.", |c, v| {
        c.agent.name = read(v)?;
        Ok(())
    }),
    setting!(
        "agent.labels",
        "",
        "Labels that placement looks at. In a variable: `key=value,key=value`. `!key` is required of a workflow, `*` matches any value.",
        |c, v| {
            c.agent.labels = read_labels(v)?;
            Ok(())
        }
    ),
    setting!("agent.max_workflows", "4", "How many workflows run at the same time.", |c, v| {
        c.agent.max_workflows = read_number(&v)?;
        if c.agent.max_workflows == 0 { Err("it must be at least 1".to_owned()) } else { Ok(()) }
    }),
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
        "0.0.0.0:3000",
        "Where `/livez`, `/readyz` and `/metrics` are served; `off`: nowhere.",
        |c, v| {
            c.admin.address = match v.as_str() {
                Some("off") => None,
                _ => Some(read(v.clone()).map_err(|_| format!("{v} is no address; write 0.0.0.0:3000, or off"))?),
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
    setting!("log.format", "human", "`human`, or `json` for one object per line.", |c, v| {
        c.log.format = read(v)?;
        Ok(())
    }),
    setting!("shutdown.drain_timeout", "1h", "How long running workflows may go on after SIGTERM.", |c, v| {
        c.shutdown.drain_timeout = read_duration(&v)?;
        Ok(())
    }),
];

fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A number; variables and flags have it as text.
fn read_number(value: &Value) -> Result<u32, String> {
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| format!("{value} is no number from 0 to {}", u32::MAX))
}

/// A list, or `a,b` as a variable has it best.
fn read_list(value: Value) -> Result<Vec<String>, String> {
    let Some(text) = value.as_str() else { return read(value) };
    Ok(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
}

/// A map, or `key=value,key=value` as a variable has it best.
fn read_labels(value: Value) -> Result<BTreeMap<String, String>, String> {
    let Some(text) = value.as_str() else { return read(value) };
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| match pair.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("'{pair}' is not key=value")),
    });
    let mut map = BTreeMap::new();
    for label in labels {
        let (key, value) = label?;
        if let Some(other) = map.insert(key.clone(), value.clone()) {
            return Err(format!("'{key}' is given twice, as '{other}' and as '{value}'"));
        }
    }
    Ok(map)
}

/// Ten years: what is added to it still is a time.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// `90s`, `1h 30m`, or a number of seconds.
fn read_duration(value: &Value) -> Result<Duration, String> {
    let duration = match value {
        Value::Number(seconds) => seconds.as_u64().map(Duration::from_secs),
        Value::String(text) => match text.trim().parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => text.trim().parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok()),
        },
        _ => None,
    };
    match duration {
        Some(duration) if duration > LONGEST => Err(format!("{value} is longer than ten years")),
        Some(Duration::ZERO) => Err("it must be longer than 0".to_owned()),
        Some(duration) => Ok(duration),
        None => Err(format!("{value} is no duration; write 90s, 10m or 1h 30m")),
    }
}

/// `64Mi`, `512Ki`, or a number of bytes.
fn read_bytes(value: &Value) -> Result<usize, String> {
    let bytes = match value {
        Value::Number(bytes) => bytes.as_u64(),
        Value::String(text) => {
            let text = text.trim();
            let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let (digits, unit) = text.split_at(split);
            let factor = match unit {
                "" => Some(1),
                "Ki" => Some(1 << 10),
                "Mi" => Some(1 << 20),
                "Gi" => Some(1u64 << 30),
                _ => None,
            };
            digits.parse::<u64>().ok().zip(factor).and_then(|(digits, factor)| digits.checked_mul(factor))
        }
        _ => None,
    };
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("{value} is no size; write 512Ki, 64Mi or a number of bytes"))
}
