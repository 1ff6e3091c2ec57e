//! The first message of a call: what is refused before there is a session.

use piculet_link::message::Hello;
use piculet_link::wire::agent::{Said, decode};
use piculet_proto::v1 as pb;
use piculet_proto::v1::agent_message::Message;
use tonic::Status;

/// Reads the first message of a call.
///
/// # Errors
/// `INVALID_ARGUMENT` if it is no `Hello` or says too little, `FAILED_PRECONDITION` if the agent speaks another
/// version of the protocol.
pub(crate) fn read(first: Option<pb::AgentMessage>) -> Result<Hello, Status> {
    let first = first.ok_or_else(|| Status::invalid_argument("the call ended before Hello"))?;
    // Before anything else is read: another protocol may mean anything by the other fields.
    if let Some(Message::Hello(hello)) = &first.message
        && hello.protocol != pb::PROTOCOL
    {
        return Err(Status::failed_precondition(format!(
            "the agent speaks version {} of the protocol, and this server version {}; {}",
            hello.protocol,
            pb::PROTOCOL,
            if hello.protocol > pb::PROTOCOL { "update the server" } else { "update the agent" }
        )));
    }
    match decode(first) {
        Ok(Some(Said::Hello(hello))) => Ok(hello),
        Ok(_) => Err(Status::invalid_argument("the first message of a call has to be Hello")),
        Err(fault) => Err(Status::invalid_argument(fault.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use piculet_proto::v1 as pb;
    use piculet_proto::v1::agent_message::Message;
    use tonic::Code;

    fn said(message: Message) -> Option<pb::AgentMessage> {
        Some(pb::AgentMessage { message: Some(message) })
    }

    fn hello(protocol: u32, instance: &str) -> Option<pb::AgentMessage> {
        said(Message::Hello(pb::Hello { protocol, instance_id: instance.to_owned(), ..pb::Hello::default() }))
    }

    #[test]
    fn refusals_as_a_table() {
        assert!(read(hello(1, "i")).is_ok());
        for (first, code, words) in [
            (None, Code::InvalidArgument, "before Hello"),
            (said(Message::Draining(pb::Draining {})), Code::InvalidArgument, "has to be Hello"),
            (hello(1, ""), Code::InvalidArgument, "instance_id"),
            (
                hello(0, "i"),
                Code::FailedPrecondition,
                "version 0 of the protocol, and this server version 1; update the agent",
            ),
            (
                hello(9, "i"),
                Code::FailedPrecondition,
                "version 9 of the protocol, and this server version 1; update the server",
            ),
        ] {
            let status = read(first).expect_err(words);
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(words), "{status}");
        }
    }
}
