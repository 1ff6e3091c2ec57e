//! Which traces are recorded.

use opentelemetry::Context as SdkContext;
use opentelemetry::trace::{SpanKind, TraceContextExt as _, TraceId as SdkTraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample as _};
use piculet_core::trace::{Context, TraceId};

use super::convert;

/// Which traces are recorded. Trace ids are derived, so agent and server decide alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether a trace that somebody else began is recorded exactly if they record it.
    pub follows_parent: bool,
    /// Which part of the others is recorded, from 0 to 1.
    pub ratio: f64,
}

impl Default for Sampling {
    /// All, but those whose submitter doesn't.
    fn default() -> Self {
        Self { follows_parent: true, ratio: 1.0 }
    }
}

impl Sampling {
    /// Reads `OTEL_TRACES_SAMPLER` and its argument. An empty text is as good as none.
    pub(super) fn parse(name: &str, argument: &str) -> Result<Self, String> {
        let ratio = || match argument.trim() {
            "" => Ok(1.0),
            text => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
                _ => Err(format!("its argument '{text}' in OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1")),
            },
        };
        let (name, follows_parent) = match name.trim().strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (name.trim(), name.trim().is_empty()),
        };
        let ratio = match name {
            "" | "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio()?,
            _ => {
                return Err(
                    "there is no such sampler here; write always_on, always_off or traceidratio, or one of these \
                            with parentbased_ before it"
                        .to_owned(),
                );
            }
        };
        Ok(Self { follows_parent, ratio })
    }

    /// Whether this trace is recorded.
    pub fn takes(&self, trace: TraceId, parent: Option<&Context>) -> bool {
        let parent = parent.map(|parent| SdkContext::new().with_remote_span_context(convert::context(parent)));
        let trace = SdkTraceId::from_bytes(trace.bytes());
        let result = self.sampler().should_sample(parent.as_ref(), trace, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    /// The same in the words of the library.
    pub(super) fn sampler(&self) -> Sampler {
        let root = Sampler::TraceIdRatioBased(self.ratio);
        if self.follows_parent { Sampler::ParentBased(Box::new(root)) } else { root }
    }
}

#[cfg(test)]
mod tests {
    use piculet_core::id::{ServerId, WorkflowId};
    use piculet_core::trace::{Context, WorkflowTrace};

    use super::Sampling;

    fn parent(flags: &str) -> Context {
        Context::parse(&format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"), "").unwrap()
    }

    #[test]
    fn samplers_have_their_published_names() {
        // Without a parent, with one that is recorded, with one that isn't.
        for (name, argument, expected) in [
            ("", "", [true, true, false]),
            ("parentbased_always_on", "", [true, true, false]),
            ("always_on", "", [true, true, true]),
            ("always_off", "", [false, false, false]),
            ("parentbased_always_off", "", [false, true, false]),
            ("traceidratio", "0", [false, false, false]),
            ("parentbased_traceidratio", "0", [false, true, false]),
            ("parentbased_traceidratio", "", [true, true, false]),
        ] {
            let sampling = Sampling::parse(name, argument).unwrap();
            let (yes, no) = (parent("01"), parent("00"));
            let takes = [None, Some(&yes), Some(&no)].map(|parent| sampling.takes(yes.trace, parent));
            assert_eq!(takes, expected, "{name} {argument}");
        }
    }

    #[test]
    fn a_ratio_takes_that_part_of_derived_ids() {
        let sampling = Sampling::parse("traceidratio", "0.25").unwrap();
        let id = |i: u32| WorkflowTrace::new(ServerId::new("s"), WorkflowId::new(i.to_string()), None).id();
        let taken = (0..4000).filter(|i| sampling.takes(id(*i), None)).count();
        assert!((900..1100).contains(&taken), "{taken}");
    }

    #[test]
    fn what_is_no_sampler_is_told() {
        assert!(Sampling::parse("jaeger_remote", "").unwrap_err().contains("no such sampler"));
        assert!(Sampling::parse("traceidratio", "2").unwrap_err().contains("from 0 to 1"));
    }
}
