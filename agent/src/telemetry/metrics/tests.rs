use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use piculet_core::trace::{Kind, Part, Span, SpanId, Status, TraceId, Value, convention};
use piculet_link::otlp::Tally;

use super::{Metrics, OutcomeLabels, StateLabels};

fn span(part: Part, id: u8, parent: u8, seconds: [i64; 2]) -> Span {
    let [start, end] = seconds.map(|second| Timestamp::from_second(second).unwrap());
    Span {
        part,
        trace: TraceId::new([1; 16]).unwrap(),
        id: SpanId::new([id; 8]).unwrap(),
        parent: SpanId::new([parent; 8]),
        is_parent_remote: false,
        state: String::new(),
        name: part.as_str().to_owned(),
        kind: Kind::Internal,
        start,
        end,
        attributes: vec![(convention::PIPELINE_RESULT, Value::Text("success".to_owned()))],
        events: Vec::new(),
        status: Status::Unset,
    }
}

/// What Prometheus reads, with everything in it that there can be.
fn page() -> String {
    let metrics = Metrics::default();
    metrics.workflows.get_or_create(&StateLabels { state: "success" }).inc();
    metrics.steps.get_or_create(&OutcomeLabels { state: "failure", class: "exited" }).inc();
    let parts: Vec<_> = Part::ALL.into_iter().map(|part| span(part, 9, 8, [10, 14])).collect();
    metrics.time(&parts);
    metrics.time(&[span(Part::Attempt, 1, 0, [10, 20]), span(Part::Run, 2, 1, [13, 20])]);
    let mut text = String::new();
    let registry = metrics.registry(Some(Arc::new(Tally::default())));
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[test]
fn names_follow_prometheus_conventions_and_labels_are_few() {
    let page = page();
    let mut labels = BTreeSet::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(name.starts_with("piculet_"), "{name}");
            let is_measure = name.ends_with("_seconds");
            assert_eq!(kind == "histogram", is_measure, "{name} is a {kind}");
        } else if !line.starts_with('#') {
            let (name, _) = line.split_once([' ', '{']).unwrap();
            let is_total = page.contains(&format!("# TYPE {} counter", name.trim_end_matches("_total")));
            assert_eq!(is_total, name.ends_with("_total"), "{name}");
            let inner = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inner, _)| inner);
            labels.extend(inner.split(',').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned()));
        }
    }
    assert_eq!(labels, ["class", "le", "part", "result", "state"].map(str::to_owned).into());
}

#[test]
fn the_times_that_matter_are_there() {
    let page = page();
    for expected in [
        "piculet_workflow_duration_seconds_sum{result=\"success\"} 4.0",
        "piculet_step_start_seconds_sum 3.0",
        "piculet_step_part_seconds_count{part=\"pull\"} 1",
        "piculet_step_part_seconds_count{part=\"drain\"} 1",
        "piculet_step_part_seconds_count{part=\"run\"} 2",
        "piculet_trace_spans_total{result=\"dropped\"} 0",
    ] {
        assert!(page.contains(expected), "{expected} is not in\n{page}");
    }
}

#[test]
fn the_page_of_traces_has_every_part() {
    let page = include_str!("../../../docs/traces.md");
    for part in Part::ALL {
        assert!(page.contains(&format!("\n| `{}`", part.as_str())), "{part:?}");
    }
}
