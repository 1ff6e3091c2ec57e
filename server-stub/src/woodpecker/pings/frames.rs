//! The frames in a stream of HTTP/2 bytes, without what is in them.

/// What a client says before its first frame.
const PREFACE: usize = 24;
const HEADER: usize = 9;

/// Begins, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Reset,
    Ping,
    Other,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    /// An answer to a ping.
    pub(super) fn is_ack(self) -> bool {
        self.kind == Kind::Ping && self.flags & 1 != 0
    }

    /// The last one of its sender in this stream.
    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & 1 != 0
    }

    /// As it goes over the wire, with this type and length.
    pub(super) fn header(self, kind: u8, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, self.flags];
        bytes.extend(self.stream.to_be_bytes());
        bytes
    }

    fn read(header: [u8; HEADER]) -> (Self, usize) {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            3 => Kind::Reset,
            6 => Kind::Ping,
            _ => Kind::Other,
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (Self { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }, length)
    }
}

/// Finds frames in bytes that come in pieces.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes that are no header: a preface or what is in a frame.
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
}

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], filled: 0 }
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self { skip: 0, ..Self::of_client() }
    }

    /// The frames of which the header ends in these bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == HEADER {
                let (frame, length) = Frame::read(self.header);
                (self.filled, self.skip) = (0, length);
                frames.push(frame);
            }
        }
        frames
    }

    /// How many bytes are missing until the next frame may begin, at least.
    pub(super) fn missing(&self) -> usize {
        match self.filled {
            0 => self.skip,
            filled => HEADER - filled,
        }
    }
}
