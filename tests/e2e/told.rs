//! What a scenario shows: a row of a table for each thing that was provoked.

use std::time::Duration;

use piculet_core::outcome::StepState;
use server_stub::view::StepView;
use tokio::time::Instant;

use crate::world::World;

/// Prints what became of a step, which has to be this class, and looks that its sentence ends its log.
/// `cause` is what was provoked, `since` when.
pub(crate) fn told(world: &World, cause: &str, since: Instant, step: &StepView, log: &[String], class: &str) {
    told_within(Duration::from_secs(90), world, cause, since, step, log, class);
}

/// The same with another time that it may have taken.
#[expect(clippy::print_stdout, reason = "it is a row of a table, to be looked at")]
pub(crate) fn told_within(
    most: Duration,
    world: &World,
    cause: &str,
    since: Instant,
    step: &StepView,
    log: &[String],
    class: &str,
) {
    let seconds = since.elapsed().as_secs_f64();
    let outcome = step.outcome.as_deref().unwrap_or("-");
    println!("| {} | {cause} | {outcome} | {seconds:.1} s | {} |", world.site.kind(), step.error);
    assert_eq!(outcome, class, "{cause}: {step:#?}\n{log:#?}");
    assert_ne!(step.state, StepState::Success, "{cause}: {step:#?}");
    assert!(!step.error.is_empty(), "{cause}: {step:#?}");
    let last = log.last().map_or("", String::as_str);
    assert_eq!(last, format!("[piculet] {}", step.error), "{cause}: the log's last line is another\n{log:#?}");
    assert!(since.elapsed() < most, "{cause}: it took {seconds:.1} s");
}
