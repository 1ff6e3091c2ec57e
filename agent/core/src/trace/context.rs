//! Trace context, as W3C writes it: <https://www.w3.org/TR/trace-context-2/>.

use std::fmt;

/// A trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A span of a trace. Never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $length:literal) => {
        impl $name {
            /// Takes the bytes, unless all are zero: that means 'none' on the wire.
            pub fn new(bytes: [u8; $length]) -> Option<Self> {
                (bytes != [0; $length]).then_some(Self(bytes))
            }

            /// The first bytes of a hash.
            pub(super) fn from_hash(hash: &[u8; 32]) -> Self {
                let mut bytes = [0; $length];
                bytes.copy_from_slice(&hash[..$length]);
                // Nobody will see it happen, but zero is no id.
                Self::new(bytes).unwrap_or_else(|| Self([1; $length]))
            }

            /// The bytes.
            pub fn bytes(self) -> [u8; $length] {
                self.0
            }

            fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; $length];
                if text.len() != 2 * $length {
                    return None;
                }
                for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                    *byte = hex(digits)?;
                }
                Self::new(bytes)
            }
        }

        impl fmt::Display for $name {
            /// In lower-case hexadecimal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(TraceId, 16);
id!(SpanId, 8);

/// A place in a trace, and what is said along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that what comes next belongs under.
    pub span: SpanId,
    /// Whether the trace is recorded. Who has it as parent goes along with that.
    pub sampled: bool,
    /// Whether the trace's id is random, as whoever began the trace says.
    pub random: bool,
    /// The `tracestate` header; may be empty.
    pub state: String,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the traceparent is none: it is written 00-<32 hexadecimal digits>-<16>-<2>, in lower case and not all zero")]
pub struct ContextError;

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

impl Context {
    /// The longest `tracestate` that is passed on, in bytes: as many as W3C asks of everybody.
    pub const LONGEST_STATE: usize = 512;

    /// Reads the two headers. A `state` that is no text, or too long to be passed on, counts as empty, as W3C has it.
    ///
    /// # Errors
    /// If `parent` is not what the header may hold: then there is no trace.
    pub fn parse(parent: &str, state: &str) -> Result<Self, ContextError> {
        let mut fields = parent.splitn(5, '-');
        let mut field = || fields.next().unwrap_or_default();
        let (version, trace, span, flags) = (field(), field(), field(), field());
        let version = byte(version).filter(|version| *version != 0xff).ok_or(ContextError)?;
        // Later versions may say more, after what this one says.
        if version == 0 && fields.next().is_some() {
            return Err(ContextError);
        }
        let flags = byte(flags).ok_or(ContextError)?;
        let is_state = state.len() <= Self::LONGEST_STATE && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        Ok(Self {
            trace: TraceId::parse(trace).ok_or(ContextError)?,
            span: SpanId::parse(span).ok_or(ContextError)?,
            sampled: flags & SAMPLED != 0,
            random: flags & RANDOM != 0,
            state: if is_state { state.trim().to_owned() } else { String::new() },
        })
    }

    /// The `traceparent` header.
    pub fn parent(&self) -> String {
        let flags = u8::from(self.sampled) * SAMPLED + u8::from(self.random) * RANDOM;
        format!("00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

fn byte(text: &str) -> Option<u8> {
    if text.len() == 2 { hex(text.as_bytes()) } else { None }
}

/// Two digits. Upper case is none, as the specification says.
fn hex(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let [high, low] = digits else { return None };
    Some(digit(*high)? * 16 + digit(*low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Context, SpanId, TraceId};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_specifications_example_is_read() {
        let context = Context::parse(PARENT, "congo=t61rcWkgMzE").unwrap();
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(context.sampled && !context.random);
        assert_eq!((context.parent().as_str(), context.state.as_str()), (PARENT, "congo=t61rcWkgMzE"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for wrong in [
            "",
            "00",
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4ü36-00f067aa0ba902b7-01",
        ] {
            assert!(Context::parse(wrong, "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = PARENT.replacen("00", "01", 1);
        assert_eq!(Context::parse(&format!("{later}-more-and-more"), "").unwrap().parent(), PARENT);
        assert_eq!(Context::parse(&later, "").unwrap().parent(), PARENT, "it is written as the version that we know");
        let unknown = PARENT.replace("-01", "-ff");
        assert_eq!(Context::parse(&unknown, "").unwrap().parent(), PARENT.replace("-01", "-03"), "unknown flags go");
    }

    #[test]
    fn a_state_that_can_not_be_passed_on_is_dropped_and_the_parent_stays() {
        for state in ["a=\u{e9}", "a=\n", &"a".repeat(Context::LONGEST_STATE + 1)] {
            assert_eq!(Context::parse(PARENT, state).unwrap().state, "");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace: [u8; 16], span: [u8; 8], sampled: bool, random: bool, state in "[a-z]{0,9}") {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let (trace, span) = (TraceId::new(trace).unwrap(), SpanId::new(span).unwrap());
            let context = Context { trace, span, sampled, random, state };
            prop_assert_eq!(Context::parse(&context.parent(), &context.state).unwrap(), context);
        }

        #[test]
        fn no_text_panics(parent: String, state: String) {
            let _either = Context::parse(&parent, &state);
        }
    }
}
