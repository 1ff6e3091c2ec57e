//! Our spans in the words of OpenTelemetry's library.

use std::time::SystemTime;

use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status as SdkStatus, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value as SdkValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use piculet_core::trace::{Context, Kind, Span, Status, Value};

/// The conventions that the names of attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.43.0";

/// Who makes the spans.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("piculet").with_version(env!("CARGO_PKG_VERSION")).with_schema_url(SCHEMA).build()
}

/// Whose spans they are. Later attributes win.
pub(super) fn resource(attributes: impl IntoIterator<Item = (String, String)>) -> Resource {
    let attributes: Vec<_> = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect();
    Resource::builder_empty().with_schema_url(attributes, SCHEMA).build()
}

/// A span that is over.
pub(super) fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace.bytes()),
        SpanId::from_bytes(span.id.bytes()),
        // Only what is sampled comes here.
        TraceFlags::SAMPLED,
        false,
        state(&span.state),
    );
    let mut events = SpanEvents::default();
    events.events =
        span.events.into_iter().map(|event| Event::new(event.name, SystemTime::from(event.time), vec![], 0)).collect();
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.bytes())),
        parent_span_is_remote: span.is_parent_remote,
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Internal => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: span.start.into(),
        end_time: span.end.into(),
        attributes: span.attributes.into_iter().map(|(name, found)| KeyValue::new(name, value(found))).collect(),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status: match span.status {
            Status::Unset => SdkStatus::Unset,
            Status::Error(class) => SdkStatus::error(class),
        },
        instrumentation_scope: scope.clone(),
    }
}

/// A place in a trace that somebody else may continue.
pub(super) fn context(context: &Context) -> SpanContext {
    let flags = if context.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(context.trace.bytes()), SpanId::from_bytes(context.span.bytes()));
    SpanContext::new(trace, span, flags, true, state(&context.state))
}

/// A state that the library can't read is no state.
fn state(text: &str) -> TraceState {
    text.parse().unwrap_or_default()
}

fn value(value: Value) -> SdkValue {
    match value {
        Value::Text(text) => SdkValue::String(text.into()),
        Value::Number(number) => SdkValue::I64(number),
        Value::Texts(texts) => SdkValue::Array(Array::String(texts.into_iter().map(StringValue::from).collect())),
    }
}
