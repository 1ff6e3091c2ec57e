//! What piculet costs: the same work as bare pods and as a workflow, side by side in one run on a real cluster; and on one
//! in memory, what the agent itself takes.
//!
//! `KUBECONFIG=… cargo bench --bench cluster` prints a table, and writes the figures to `target/bench-cluster.json`;
//! without `KUBECONFIG` it measures only what needs no cluster. `-- ROUNDS` says how often everything is done; three times
//! without. The agent is the program as it is released, and talks TLS to all sides.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures, and ends where it can't")]

mod api;
mod bare;
mod certificates;
mod figures;
mod leash;
mod own;
mod program;
mod server;
mod site;
mod weight;
mod work;
mod workflows;

use std::path::Path;

use certificates::Certificates;
use figures::Figures;
use site::Site;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3);
    let program = program::build();
    let _first = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut figures = Figures::default();
        let certificates = Certificates::new();
        for round in 1..=rounds {
            println!("round {round} of {rounds}, in memory");
            own::in_sequence(&program, &certificates, &mut figures).await;
            own::at_once(&program, &certificates, &mut figures).await;
        }
        match site::kubeconfig() {
            Some(kubeconfig) => real(rounds, &program, &kubeconfig, &certificates, &mut figures).await,
            None => println!("no real cluster: KUBECONFIG names none; tests/cluster/up starts one"),
        }
        figures.print();
        figures.save();
    });
}

async fn real(rounds: u32, program: &Path, kubeconfig: &Path, certificates: &Certificates, figures: &mut Figures) {
    let client = site::client(kubeconfig).await;
    // The first pods of a namespace pay for what later ones find.
    let warm = Site::open(client.clone(), "warm", program, kubeconfig, certificates).await;
    bare::in_sequence(&warm, 1).await;
    warm.close().await;
    for round in 1..=rounds {
        println!("round {round} of {rounds}, on a real cluster");
        let site = Site::open(client.clone(), &round.to_string(), program, kubeconfig, certificates).await;
        weight::idle(&site, figures).await;
        figures.took("10 bare pods in sequence", bare::in_sequence(&site, 10).await);
        figures.took("a workflow of 10 no-op steps", workflows::in_sequence(&site, 10).await);
        figures.took("10 bare pods at once", bare::at_once(&site, 10).await);
        figures.took("10 workflows of one step at once", workflows::at_once(&site, 10).await);
        for steps in [1, 10, 100] {
            weight::running(&site, steps, figures).await;
        }
        figures.took("200,000 lines from one step", workflows::flood(&site).await);
        site.close().await;
        weight::requests(program, kubeconfig, certificates, figures).await;
    }
    figures.ratio("a workflow of 10 no-op steps", "10 bare pods in sequence");
    figures.ratio("10 workflows of one step at once", "10 bare pods at once");
}
