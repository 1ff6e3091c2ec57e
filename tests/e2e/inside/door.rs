//! A socket of this machine that leads to the server of a scenario.

use std::net::SocketAddr;
use std::sync::Arc;

use server_stub::stub::Network;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// It stays open as long as the scenario runs.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    /// The certificate that whoever comes has to trust, as PEM.
    pub(super) authority: String,
}

impl Door {
    /// Speaks TLS, with a certificate for the listener's address; behind it is this network.
    pub(super) fn open(listener: TcpListener, network: Network) -> Self {
        let address = listener.local_addr().unwrap();
        let own = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key);
        let mut tls = tls.unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (acceptor, network) = (acceptor.clone(), network.clone());
                tokio::spawn(async move {
                    // Who speaks no TLS, or hangs up, is not let in; neither is anybody while the network is cut.
                    let Ok(mut connection) = acceptor.accept(connection).await else { return };
                    let Ok(mut server) = network.dial() else { return };
                    let _over = copy_bidirectional(&mut connection, &mut server).await;
                });
            }
        });
        Self { address, authority: own.cert.pem() }
    }
}
