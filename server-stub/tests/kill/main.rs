//! The real server is killed, and the network to it cut, at random moments under many workflows: nothing is lost and
//! nothing is doubled.
//!
//! `PICULET_KILLS=50 cargo test -p server-stub --test kill -- --nocapture` does it 50 times and prints what it saw.
//! Server, API and agent talk over real sockets; the cluster is the one in memory, in real time.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't go on shall panic, and says what it did"
)]

mod api;
mod proxy;
mod server;
mod world;

use std::time::Duration;

use proxy::Proxy;
use server::Served;
use world::World;

/// How often something is broken where nobody asks for more.
const KILLS: u32 = 6;
/// How many workflows run at the same time.
const WORKFLOWS: usize = 20;

/// How often something is to be broken.
#[expect(clippy::disallowed_methods, reason = "the one way to tell a test how much to do")]
fn kills() -> u32 {
    let text = std::env::var("PICULET_KILLS").ok();
    text.map_or(KILLS, |text| text.parse().expect("PICULET_KILLS has to be a number"))
}

fn milliseconds(rng: &mut fastrand::Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_keeps_its_word() {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut served = Served::start();
    let world = World::start(served.agents());
    let submitting = world.keep_busy(served.api(), WORKFLOWS);
    for _ in 0..kills() {
        tokio::time::sleep(milliseconds(&mut rng, 100..1500)).await;
        served.kill();
        tokio::time::sleep(milliseconds(&mut rng, 0..500)).await;
        served.restart();
    }
    world.judge("kill -9 of the server", kills(), submitting, &served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_costs_nothing_but_time() {
    let mut rng = fastrand::Rng::with_seed(2);
    let served = Served::start();
    let proxy = Proxy::to(served.agents()).await;
    let world = World::start(proxy.address());
    let submitting = world.keep_busy(served.api(), WORKFLOWS);
    for _ in 0..kills() {
        tokio::time::sleep(milliseconds(&mut rng, 100..1500)).await;
        proxy.cut();
        tokio::time::sleep(milliseconds(&mut rng, 0..500)).await;
        proxy.mend();
    }
    world.judge("connections cut", kills(), submitting, &served).await;
}
