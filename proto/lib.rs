//! The wire types that agents and servers share, generated from `proto/agent.proto` and `proto/woodpecker.proto`.
//!
//! The meaning of each message and field is documented in these files. Nothing outside `piculet-link` and `server-stub`
//! names these types: they are turned into values of `piculet-core` at the border.

use std::fmt;

/// Protocol version 1 of the bidirectional stream.
#[expect(
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the documentation stands in agent.proto"
)]
pub mod v1 {
    tonic::include_proto!("piculet.v1");

    /// The protocol version that this crate describes: `Hello.protocol` and `Welcome.protocol`.
    pub const PROTOCOL: u32 = 1;
    /// The most bytes of line data that one `LogChunk` carries.
    pub const MAX_LOG_CHUNK_BYTES: usize = 32 * 1024;
    /// The most bytes of one message, in either direction. Both sides set it explicitly for sending and receiving:
    /// gRPC's usual 4 MiB would be less than what a workload with its secrets may have.
    pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
}

/// The protocol of Woodpecker servers.
#[expect(
    clippy::allow_attributes_without_reason,
    missing_docs,
    reason = "generated code; the documentation stands in woodpecker.proto"
)]
pub mod woodpecker {
    use std::time::Duration;

    tonic::include_proto!("proto");

    /// The version that this crate describes: that of Woodpecker 3.14 and later. Agent and server must speak the same.
    pub const PROTOCOL: i32 = 16;
    /// What `ReportHealthRequest.status` has to be.
    pub const HEALTHY: &str = "I am alive!";
    /// For how long a workflow is an agent's after it was handed out, or after an `Extend`.
    pub const LEASE: Duration = Duration::from_secs(60);
}

// A workload carries every secret of its repository; printing a message must not print them.

impl fmt::Debug for v1::Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload").field("name", &self.name).field("stages", &self.stages).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

impl fmt::Debug for woodpecker::AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest").field("agent_id", &self.agent_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for woodpecker::AuthResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthResponse").field("agent_id", &self.agent_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for woodpecker::Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflow").field("id", &self.id).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
