//! What the standard `OTEL_*` variables say.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use piculet_core::secret::Secret;

use super::sampling::Sampling;
use crate::stream::{Address, ClientCertificate, Tls};

/// How to reach a collector, and what it gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where it is.
    pub endpoint: Address,
    /// What is sent with every request, names in lower case. A value may be a credential.
    pub headers: Vec<(String, Secret)>,
    /// How long a batch may take, with all further tries.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// Looked at for `https` only.
    pub tls: Tls,
    /// What the operator says of this process.
    pub resource: Vec<(String, String)>,
    /// Which traces are recorded.
    pub sampling: Sampling,
    /// How spans are gathered.
    pub batches: Batches,
}

/// How spans are gathered before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// How long a span waits for others at most.
    pub delay: Duration,
    /// How many may wait; at least 1.
    pub queue: usize,
    /// How many are sent at once at most; at least 1.
    pub size: usize,
}

impl Default for Batches {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), queue: 2048, size: 512 }
    }
}

/// What an environment wants of traces.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// None: they are off unless an endpoint or the exporter `otlp` is named.
    Off,
    /// To send them in a way that is published and not spoken here: they are off, which is worth a warning. Such
    /// variables are often set for all pods of a cluster alike.
    Foreign(Problem),
    /// To send them there.
    On(Box<Settings>),
}

/// A variable that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {message}")]
pub struct Problem {
    /// Its name.
    pub variable: String,
    /// What is wrong with it, as a sentence. Never holds the value of a header.
    pub message: String,
}

/// Where a collector listens if nothing else is said.
const DEFAULT_ENDPOINT: &str = "http://localhost:4317";

impl Settings {
    /// The published defaults, for this collector.
    pub fn new(endpoint: Address) -> Self {
        Self {
            endpoint,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            tls: Tls::default(),
            resource: Vec::new(),
            sampling: Sampling::default(),
            batches: Batches::default(),
        }
    }

    /// Reads an environment. Variables for other signals are left alone.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn read<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Wanted, Vec<Problem>> {
        let otel = variables.into_iter().filter(|(name, value)| name.starts_with("OTEL_") && !value.trim().is_empty());
        Reader { variables: otel.map(|(name, value)| (name, value.trim())).collect(), problems: Vec::new() }.read()
    }
}

struct Reader<'a> {
    /// Empty ones count as absent, as published.
    variables: BTreeMap<&'a str, &'a str>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Result<Wanted, Vec<Problem>> {
        if self.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(Wanted::Off);
        }
        let endpoint = self.of_traces("ENDPOINT");
        match self.get("OTEL_TRACES_EXPORTER") {
            None if endpoint.is_none() => return Ok(Wanted::Off),
            None => {}
            // Published as a list.
            Some(list) if list.split(',').any(|name| name.trim() == "otlp") => {}
            Some("none") => return Ok(Wanted::Off),
            Some(other) => {
                let message = format!("there is no exporter '{other}' here; write otlp, or none");
                return Ok(Wanted::Foreign(Problem { variable: "OTEL_TRACES_EXPORTER".to_owned(), message }));
            }
        }
        if let Some((variable, protocol)) = self.of_traces("PROTOCOL")
            && protocol != "grpc"
        {
            let message = format!("'{protocol}' is not spoken here; write grpc, and the collector's port for it");
            return Ok(Wanted::Foreign(Problem { variable, message }));
        }
        let (variable, endpoint) =
            endpoint.unwrap_or_else(|| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), DEFAULT_ENDPOINT));
        let endpoint = endpoint.parse::<Address>().map_err(|bad| {
            let how = "write it as https://host:port, or as http://host:port without encryption";
            self.problem(&variable, format!("the collector's address {}; {how}", bad.problem()));
        });
        let gzip = self.gzip();
        let (headers, resource) = (self.headers(), self.resource());
        let timeout = self.timeout();
        let sampling = Sampling::parse(
            self.get("OTEL_TRACES_SAMPLER").unwrap_or_default(),
            self.get("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default(),
        );
        let sampling = sampling.unwrap_or_else(|message| {
            self.problem("OTEL_TRACES_SAMPLER", message);
            Sampling::default()
        });
        let (tls, batches) = (self.tls(), self.batches());
        match endpoint {
            Ok(endpoint) if self.problems.is_empty() => {
                let settings = Settings { endpoint, headers, timeout, gzip, tls, resource, sampling, batches };
                Ok(Wanted::On(Box::new(settings)))
            }
            _ => Err(self.problems),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.variables.get(name).copied()
    }

    /// A setting of the exporter: for traces, else for all signals; and which variable it came from.
    fn of_traces(&self, name: &str) -> Option<(String, &'a str)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn problem(&mut self, variable: &str, message: impl fmt::Display) {
        self.problems.push(Problem { variable: variable.to_owned(), message: message.to_string() });
    }

    fn gzip(&mut self) -> bool {
        match self.of_traces("COMPRESSION") {
            None => false,
            Some((_, "none")) => false,
            Some((_, "gzip")) => true,
            Some((variable, other)) => {
                self.problem(&variable, format!("there is no compression '{other}' here; write gzip, or none"));
                false
            }
        }
    }

    fn headers(&mut self) -> Vec<(String, Secret)> {
        let Some((variable, text)) = self.of_traces("HEADERS") else { return Vec::new() };
        let mut headers = Vec::new();
        for (place, pair) in pairs(text).enumerate() {
            // Neither the text nor the library's words: both would show the credential.
            let header = pair.and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                HeaderValue::from_str(&value).ok()?;
                (!name.as_str().ends_with("-bin")).then(|| (name.as_str().to_owned(), Secret::new(value)))
            });
            match header {
                Some(header) => headers.push(header),
                None => {
                    let number = place + 1;
                    self.problem(&variable, format!("number {number} is no header; write name=value,name=value"));
                }
            }
        }
        headers
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let mut resource = Vec::new();
        for pair in self.get("OTEL_RESOURCE_ATTRIBUTES").map(pairs).into_iter().flatten() {
            match pair {
                Some((name, value)) => resource.push((name.to_owned(), value)),
                None => self.problem("OTEL_RESOURCE_ATTRIBUTES", "it is written name=value,name=value"),
            }
        }
        // The published order: this one wins.
        resource.extend(self.get("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name.to_owned())));
        resource
    }

    fn timeout(&mut self) -> Duration {
        let default = Duration::from_secs(10);
        let Some((variable, text)) = self.of_traces("TIMEOUT") else { return default };
        self.number(&variable, text).map_or(default, |milliseconds| Duration::from_millis(milliseconds as u64))
    }

    fn tls(&mut self) -> Tls {
        let file = |name| self.of_traces(name).map(|(_, path)| PathBuf::from(path));
        let (authorities, certificate, key) = (file("CERTIFICATE"), file("CLIENT_CERTIFICATE"), file("CLIENT_KEY"));
        if certificate.is_some() != key.is_some() {
            let message = "a client certificate needs both OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY";
            self.problem("OTEL_EXPORTER_OTLP_CLIENT_KEY", message);
        }
        let certificate = certificate.zip(key).map(|(certificate, key)| ClientCertificate { certificate, key });
        Tls { authorities, certificate, server_name: None }
    }

    fn batches(&mut self) -> Batches {
        let mut batches = Batches::default();
        let mut number = |name: &str| self.get(name).and_then(|text| self.number(name, text));
        if let Some(milliseconds) = number("OTEL_BSP_SCHEDULE_DELAY") {
            batches.delay = Duration::from_millis(milliseconds as u64);
        }
        batches.queue = number("OTEL_BSP_MAX_QUEUE_SIZE").unwrap_or(batches.queue);
        let size = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").unwrap_or(batches.size);
        // As published; more could never be there at once.
        batches.size = size.min(batches.queue);
        batches
    }

    /// A number of at least 1 that a queue can be long.
    fn number(&mut self, variable: &str, text: &str) -> Option<usize> {
        const MOST: usize = 1 << 28;
        match text.parse() {
            Ok(number @ 1..=MOST) => Some(number),
            _ => {
                self.problem(variable, format!("'{text}' is no number from 1 to {MOST}"));
                None
            }
        }
    }
}

/// `name=value,name=value`, values percent-encoded. `None` where one of them is nothing of the kind.
fn pairs(text: &str) -> impl Iterator<Item = Option<(&str, String)>> {
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!name.trim().is_empty()).then(|| (name.trim(), value.into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Batches, Settings, Wanted};

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317");

    fn read(variables: &[(&str, &str)]) -> Settings {
        match Settings::read(variables.iter().copied()).unwrap() {
            Wanted::On(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn traces_are_off_unless_somebody_wants_them() {
        for off in [
            vec![],
            vec![("OTEL_SERVICE_NAME", "ci")],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            vec![ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            // What is off may be wrong.
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "?"), ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(Settings::read(off.iter().copied()), Ok(Wanted::Off), "{off:?}");
        }
        for on in ["otlp", "console, otlp"] {
            let settings = read(&[("OTEL_TRACES_EXPORTER", on)]);
            assert_eq!(settings.endpoint.to_string(), "http://localhost:4317");
        }
        assert_eq!(read(&[ENDPOINT]).endpoint.to_string(), "https://collector:4317");
    }

    #[test]
    fn what_others_are_told_is_no_error() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "console"),
        ] {
            // Whatever else is said with it is meant for others, too.
            let read = Settings::read([ENDPOINT, (variable, value), ("OTEL_TRACES_SAMPLER", "jaeger_remote")]);
            let Ok(Wanted::Foreign(problem)) = read else { panic!("{variable}: {read:?}") };
            assert_eq!(problem.variable, variable);
            assert!(problem.message.contains(value), "{problem}");
        }
    }

    #[test]
    fn what_is_said_of_traces_goes_before_what_is_said_of_all() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,team=a%20b"),
            ("OTEL_SERVICE_NAME", "ci"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_METRICS_EXPORTER", "whatever"),
        ]);
        assert_eq!(settings.endpoint.to_string(), "http://traces:4317");
        assert_eq!((settings.timeout, settings.gzip), (Duration::from_millis(2500), true));
        assert_eq!(settings.tls.authorities.as_deref(), Some(std::path::Path::new("/ca.pem")));
        let resource = [("service.name", "x"), ("team", "a b"), ("service.name", "ci")];
        assert_eq!(settings.resource, resource.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(settings.batches, Batches { queue: 100, size: 100, ..Batches::default() });
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let settings = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20hunter2, x-team = a")]);
        let headers: Vec<_> = settings.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("authorization", "Bearer hunter2"), ("x-team", "a")]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_variable() {
        let wrong = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "good=1,hunter2,a b=hunter2,c=hunter2%0A"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ];
        let problems = Settings::read(wrong).unwrap_err();
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let text = text.join("\n");
        for (variable, _) in wrong {
            assert!(text.contains(&format!("{variable}: ")), "{variable} is not in\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(problems.len(), wrong.len() + 2, "each header by its number:\n{text}");
    }
}
