//! Compiles `proto/*.proto` with protox, so that no `protoc` is needed on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/agent.proto", "proto/woodpecker.proto"], ["proto"])?;
    // These hold secrets: their `Debug` is written by hand in `proto/lib.rs`.
    let ours = ["piculet.v1.Workload", "piculet.v1.Step", "piculet.v1.RegistryAuth"];
    let woodpeckers = ["proto.AuthRequest", "proto.AuthResponse", "proto.Workflow"];
    let secret = ours.into_iter().chain(woodpeckers);
    tonic_prost_build::configure().bytes(".").skip_debug(secret).compile_fds(files)?;
    Ok(())
}
