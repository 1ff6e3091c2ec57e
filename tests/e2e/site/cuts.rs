//! A way to the API server whose connections all break, again and again.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::Kubeconfig;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// It lasts as long as this.
pub(crate) struct Cuts {
    /// The kubeconfig that leads through it.
    pub(crate) kubeconfig: PathBuf,
    _folder: TempDir,
}

impl Cuts {
    /// Between whoever uses its kubeconfig and the server of the other one.
    pub(super) async fn before(kubeconfig: PathBuf, each: Duration) -> Self {
        let mut file = Kubeconfig::read_from(&kubeconfig).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cluster = file.clusters[0].cluster.as_mut().unwrap();
        let server: http::Uri = cluster.server.as_deref().unwrap().parse().unwrap();
        let upstream = (server.host().unwrap().to_owned(), server.port_u16().unwrap_or(443));
        // The certificate is for the server's own name.
        cluster.tls_server_name.get_or_insert_with(|| upstream.0.clone());
        cluster.server = Some(format!("https://127.0.0.1:{port}"));
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();

        let (cut, _) = broadcast::channel(1);
        let cutting = cut.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(each).await;
                let _nobody = cutting.send(());
            }
        });
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let (upstream, mut cut) = (upstream.clone(), cut.subscribe());
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut connection, &mut server) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { kubeconfig: path, _folder: folder }
    }
}
