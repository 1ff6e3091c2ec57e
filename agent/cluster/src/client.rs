//! Makes the client: where the API server is, who we are, and what happens below each request.

use std::path::PathBuf;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::core::response::StatusDetails;
use tower::BoxError;

/// How much of an answer that asks for patience is read.
const MAX_EXCUSE: usize = 64 * 1024;

/// Where the credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KubeSource {
    /// The service account of the agent's own pod.
    InCluster,
    /// A kubeconfig file.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context to use; `None`: the file's current one.
        context: Option<String>,
    },
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The agent runs in no pod, or its pod has no service account token.
    #[error(
        "There are no credentials of a pod: {0}. Run the agent in a pod with a service account, or give it a kubeconfig file."
    )]
    InCluster(#[source] kube::config::InClusterError),
    /// The file can't be used.
    #[error("The kubeconfig file '{path}' can't be used: {source}.")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// The credentials can be read, but they make no sense.
    #[error("The credentials for the cluster can't be used: {0}.")]
    Credentials(#[source] kube::Error),
}

impl ConnectError {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InCluster(_) => "not-in-cluster",
            Self::Kubeconfig { .. } => "kubeconfig",
            Self::Credentials(_) => "cluster-credentials",
        }
    }
}

/// A client and the namespace that its credentials name.
pub(crate) async fn connect(source: &KubeSource) -> Result<(Client, String), ConnectError> {
    let config = config(source).await?;
    let namespace = config.default_namespace.clone();
    let client = ClientBuilder::try_from(config).map_err(ConnectError::Credentials)?.build();
    Ok((client, namespace))
}

async fn config(source: &KubeSource) -> Result<Config, ConnectError> {
    let mut config = match source {
        KubeSource::InCluster => Config::incluster().map_err(ConnectError::InCluster)?,
        KubeSource::Kubeconfig { path, context } => {
            let failed = |source| ConnectError::Kubeconfig { path: path.clone(), source };
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            let file = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(failed)?
        }
    };
    // It would hold for each read of a stream: a log that is quiet for so long would end.
    config.read_timeout = None;
    // It tries up to 15 times and knows no deadline. Trying again is done here, where one is known.
    config.default_retry = false;
    Ok(config)
}

/// Keeps the `Retry-After` of an answer, which the client above would drop together with the other headers: it becomes
/// part of the answer's `Status`.
pub(crate) fn with_retry_after(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move { keep_retry_after(client.send(request).await?).await }
    });
    Client::new(service, namespace)
}

async fn keep_retry_after(response: Response<Body>) -> Result<Response<Body>, BoxError> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return Ok(response);
    }
    // A date instead of seconds is allowed, but no API server sends one.
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(seconds) = seconds else { return Ok(response) };

    let (mut parts, body) = response.into_parts();
    let text = Limited::new(body, MAX_EXCUSE).collect().await?.to_bytes();
    // The server's flow control answers in plain text.
    let mut status: Status = serde_json::from_slice(&text).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&text);
        Status::failure(text.trim(), "").with_code(parts.status.as_u16())
    });
    match &mut status.details {
        Some(details) => details.retry_after_seconds = seconds,
        None => status.details = Some(only_retry_after(seconds)),
    }
    let text = serde_json::to_vec(&status)?;
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(text)))
}

fn only_retry_after(seconds: u32) -> StatusDetails {
    StatusDetails {
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        causes: Vec::new(),
        retry_after_seconds: seconds,
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Pod;
    use kube::client::Body;
    use kube::{Api, Client};

    use super::{ConnectError, KubeSource, config, keep_retry_after, with_retry_after};

    const KUBECONFIG: &str = "apiVersion: v1
kind: Config
current-context: one
clusters: [{name: here, cluster: {server: 'http://127.0.0.1:1'}}]
contexts:
- {name: one, context: {cluster: here, user: me, namespace: ci}}
- {name: two, context: {cluster: here, user: me}}
users: [{name: me, user: {}}]
";

    fn kubeconfig(text: &str) -> (tempfile::TempDir, KubeSource) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        (folder, KubeSource::Kubeconfig { path, context: None })
    }

    #[tokio::test]
    async fn no_timeout_ends_a_quiet_log_and_no_one_else_tries_again() {
        let (_folder, source) = kubeconfig(KUBECONFIG);
        let config = config(&source).await.unwrap();
        assert_eq!(config.read_timeout, None);
        assert!(!config.default_retry);
        assert_eq!(config.default_namespace, "ci");
    }

    #[tokio::test]
    async fn a_context_can_be_chosen() {
        let (_folder, source) = kubeconfig(KUBECONFIG);
        let KubeSource::Kubeconfig { path, .. } = source else { unreachable!() };
        let with = |context: &str| KubeSource::Kubeconfig { path: path.clone(), context: Some(context.to_owned()) };
        assert_eq!(config(&with("two")).await.unwrap().default_namespace, "default");
        let error = config(&with("three")).await.unwrap_err();
        assert_eq!(error.code(), "kubeconfig");
        assert!(error.to_string().contains("three"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_kubeconfig_is_named() {
        let (_folder, source) = kubeconfig("clusters: 7");
        let error = config(&source).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Kubeconfig { path, .. } if error.to_string().contains(path.to_str().unwrap()))
        );
    }

    /// The error that a client gets for an answer.
    async fn error(code: u16, retry_after: Option<&str>, text: &'static str) -> kube::core::Status {
        let retry_after = retry_after.map(str::to_owned);
        let server = tower::service_fn(move |_: Request<Body>| {
            let mut answer = Response::builder().status(code).header("content-length", text.len());
            if let Some(seconds) = &retry_after {
                answer = answer.header("retry-after", seconds);
            }
            let answer = answer.body(Body::from(text.as_bytes().to_vec())).unwrap();
            async move { Ok::<_, std::convert::Infallible>(answer) }
        });
        let client = with_retry_after(Client::new(server, "ci"));
        match Api::<Pod>::default_namespaced(client).get("wp-1").await {
            Err(kube::Error::Api(status)) => *status,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn retry_after_survives() {
        let status = error(429, Some("3"), "Too many requests, please try again later.").await;
        assert_eq!((status.code, status.message.as_str()), (429, "Too many requests, please try again later."));
        assert_eq!(status.details.unwrap().retry_after_seconds, 3);

        let json =
            r#"{"kind":"Status","code":503,"reason":"ServiceUnavailable","message":"m","details":{"kind":"pods"}}"#;
        let status = error(503, Some("4"), json).await;
        assert_eq!((status.reason.as_str(), status.message.as_str()), ("ServiceUnavailable", "m"));
        let details = status.details.unwrap();
        assert_eq!((details.kind.as_str(), details.retry_after_seconds), ("pods", 4));
    }

    #[tokio::test]
    async fn an_answer_that_became_longer_says_nothing_of_its_length() {
        let answer = Response::builder().status(429).header("retry-after", "1").header("content-length", 4);
        let answer = keep_retry_after(answer.body(Body::from(b"wait".to_vec())).unwrap()).await.unwrap();
        assert_eq!(answer.headers().get("content-length"), None);
    }

    #[tokio::test]
    async fn other_answers_pass_unchanged() {
        assert_eq!(error(429, None, "slow down").await.message, "slow down");
        assert_eq!(error(429, Some("Fri, 31 Dec 1999 23:59:59 GMT"), "slow down").await.details, None);
        assert_eq!(error(500, Some("3"), "broken").await.details, None);
    }
}
