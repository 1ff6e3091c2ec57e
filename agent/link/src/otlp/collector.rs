//! The exporter to a collector.

use opentelemetry_otlp::{Compression, ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::Endpoint;

use super::settings::{Problem, Settings};

/// An exporter that dials when it is first needed, and again after an outage.
///
/// # Errors
/// If a file that the settings name can't be used.
pub async fn exporter(settings: &Settings) -> Result<SpanExporter, Problem> {
    let problem = |variable: &str, message: String| Problem { variable: variable.to_owned(), message };
    let mut endpoint =
        Endpoint::from(settings.endpoint.uri().clone()).connect_timeout(settings.timeout).timeout(settings.timeout);
    if settings.endpoint.is_encrypted() {
        let tls = settings.tls.client_config().await;
        let tls = tls.map_err(|ended| problem("OTEL_EXPORTER_OTLP_CERTIFICATE", ended.cause.to_string()))?;
        endpoint = endpoint
            .tls_config(tls.timeout(settings.timeout))
            .map_err(|error| problem("OTEL_EXPORTER_OTLP_CERTIFICATE", error.to_string()))?;
    }
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_channel(endpoint.connect_lazy())
        .with_timeout(settings.timeout)
        .with_metadata(metadata(settings));
    if settings.gzip {
        builder = builder.with_compression(Compression::Gzip);
    }
    // It has looked at the same variables as we have, and at files that we have read.
    builder.build().map_err(|error: ExporterBuildError| problem("OTEL_EXPORTER_OTLP_ENDPOINT", error.to_string()))
}

fn metadata(settings: &Settings) -> MetadataMap {
    let mut map = MetadataMap::new();
    for (name, value) in &settings.headers {
        // Both were looked at when they were read.
        let name = MetadataKey::<Ascii>::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, MetadataValue::try_from(value.expose())) {
            value.set_sensitive(true);
            map.insert(name, value);
        }
    }
    map
}
