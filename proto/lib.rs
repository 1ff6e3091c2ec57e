//! The wire types that piculet's agent and server share, generated from `proto/agent.proto`.
//!
//! The meaning of each message and field is documented in that file. Nothing outside `piculet-link` and `server-stub`
//! names these types: they are turned into values of `piculet-core` at the border.

/// Protocol version 1 of the bidirectional stream.
#[expect(
    missing_docs,
    missing_debug_implementations,
    clippy::all,
    reason = "generated code; the documentation stands in agent.proto"
)]
pub mod v1 {
    tonic::include_proto!("piculet.v1");

    /// The protocol version that this crate describes: `Hello.protocol` and `Welcome.protocol`.
    pub const PROTOCOL: u32 = 1;
    /// The most bytes of line data that one `LogChunk` carries.
    pub const MAX_LOG_CHUNK_BYTES: usize = 32 * 1024;
}
