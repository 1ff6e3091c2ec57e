//! What piculet costs on a real cluster: the same work as bare pods and as a workflow, side by side in one run.
//!
//! `KUBECONFIG=… cargo bench --bench cluster` prints a table, and writes the figures to `target/bench-cluster.json`.
//! `-- ROUNDS` says how often everything is done; three times without.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures, and ends where it can't")]

mod bare;
mod figures;
mod site;
mod workflows;

use figures::Figures;
use site::Site;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let site = Site::open().await;
        let mut figures = Figures::default();
        // The first pods of a namespace pay for what later ones find.
        bare::in_sequence(&site, 1).await;
        for round in 1..=rounds {
            println!("round {round} of {rounds}");
            figures.add("10 bare pods in sequence", bare::in_sequence(&site, 10).await);
            figures.add("a workflow of 10 no-op steps", workflows::in_sequence(&site, 10).await);
            figures.add("10 bare pods at once", bare::at_once(&site, 10).await);
            figures.add("10 workflows of one step at once", workflows::at_once(&site, 10).await);
            figures.add("200,000 lines from one step", workflows::flood(&site).await);
        }
        figures.ratio("a workflow of 10 no-op steps", "10 bare pods in sequence");
        figures.ratio("10 workflows of one step at once", "10 bare pods at once");
        figures.print();
        figures.save();
        site.close().await;
    });
}
