//! Compiles `proto/*.proto` with protox, so that no `protoc` is needed on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/agent.proto"], ["proto"])?;
    // These hold secrets: their `Debug` is written by hand in `proto/lib.rs`.
    let secret = ["piculet.v1.Workload", "piculet.v1.Step", "piculet.v1.RegistryAuth"];
    tonic_prost_build::configure().bytes(".").skip_debug(secret).compile_fds(files)?;
    Ok(())
}
