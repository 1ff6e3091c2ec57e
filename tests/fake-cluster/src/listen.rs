//! The wire: a listener for plain HTTP, and the kubeconfig for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::Service as _;

use crate::cluster::{ADMIN, Shared};
use crate::service::Connection;

/// Accepts connections on `address` until the cluster ends.
pub(crate) async fn listen(cluster: &Arc<Shared>, address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let weak = Arc::downgrade(cluster);
    cluster.spawn(async move {
        loop {
            let accepted = listener.accept().await;
            let Some(cluster) = weak.upgrade() else { return };
            match accepted {
                Ok((stream, _)) => {
                    let serving = serve(Arc::clone(&cluster), TokioIo::new(stream));
                    cluster.spawn(serving);
                }
                // For example: too many open files. The next connection may succeed.
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    });
    Ok(address)
}

async fn serve(cluster: Arc<Shared>, stream: TokioIo<tokio::net::TcpStream>) {
    let weak = Arc::downgrade(&cluster);
    drop(cluster);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let cluster = weak.upgrade();
        async move {
            let cluster = cluster.ok_or_else(crate::body::broken)?;
            let user = user_of(&request);
            Connection::new(cluster, &user).call(request).await
        }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await {
        tracing::debug!(%error, "a connection broke");
    }
}

/// A bearer token is the name of its user.
fn user_of(request: &Request<Incoming>) -> String {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or(ADMIN).to_owned()
}

/// A kubeconfig with one context for a cluster at `address`.
pub(crate) fn kubeconfig(address: SocketAddr, namespace: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: fake\nclusters:\n- name: fake\n  cluster:\n    server: \
         http://{address}\nusers:\n- name: {ADMIN}\n  user:\n    token: {ADMIN}\ncontexts:\n- name: fake\n  context:\n    \
         cluster: fake\n    user: {ADMIN}\n    namespace: {namespace}\n"
    )
}
