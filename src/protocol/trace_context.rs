//! The W3C trace context, as clients send it and as envelopes carry it.

/// The W3C trace context of one span: what travels in an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub flags: u8,
}

impl TraceContext {
    /// Bytes of the encoded form.
    pub const BYTES: usize = 25;

    /// Reads a `traceparent` header (W3C Trace Context, version 00); `None` for what is malformed.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'+');
        let well_formed = [version, trace, span, flags].iter().all(|part| lower(part))
            && (version.len(), trace.len(), span.len(), flags.len()) == (2, 32, 16, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none());
        if !well_formed {
            return None;
        }
        u8::from_str_radix(version, 16).ok()?;
        let trace_id = u128::from_str_radix(trace, 16)
            .ok()
            .filter(|id| *id != 0)?
            .to_be_bytes();
        let span_id = u64::from_str_radix(span, 16)
            .ok()
            .filter(|id| *id != 0)?
            .to_be_bytes();
        Some(Self {
            trace_id,
            span_id,
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }

    /// Whether its trace is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    pub const fn with_sampled(self, sampled: bool) -> Self {
        let flags = if sampled { self.flags | 1 } else { self.flags & !1 };
        Self { flags, ..self }
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.trace_id);
        into.extend_from_slice(&self.span_id);
        into.push(self.flags);
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, rest) = rest.split_first_chunk()?;
        Some(Self {
            trace_id: *trace_id,
            span_id: *span_id,
            flags: *rest.first()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_travels() {
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(context.flags, 1);
        let mut bytes = Vec::new();
        context.encode(&mut bytes);
        assert_eq!(bytes.len(), TraceContext::BYTES);
        assert_eq!(TraceContext::decode(&bytes), Some(context));
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é6-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
