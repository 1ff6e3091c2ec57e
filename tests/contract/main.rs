//! What every link owes the agent: one suite, over each of them, in virtual time. The test reports in the place of runners.

#![expect(clippy::unwrap_used, reason = "a test may panic where it is set up, too")]

mod agent;
mod outages;
mod side;
mod stream;
mod woodpecker;
mod work;

use stream::Stream;
use woodpecker::Woodpecker;

/// Each of these for each link.
macro_rules! over_all_links {
    ($($module:ident::$name:ident),* $(,)?) => {
        mod over_the_stream {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$module::$name::<super::Stream>().await;
            })*
        }
        mod over_woodpecker {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$module::$name::<super::Woodpecker>().await;
            })*
        }
    };
}

over_all_links!(
    work::a_workflow_goes_from_its_acceptance_to_its_end,
    work::no_more_comes_than_was_asked_for,
    work::a_cancel_is_heard,
    work::what_cannot_be_run_ends_as_failed_with_the_reason,
    work::a_drain_lets_what_runs_finish_and_takes_nothing_new,
    work::a_close_waits_until_everything_is_there,
    work::steps_that_log_side_by_side_lose_and_mix_nothing,
    work::long_lines_arrive_whole,
    work::wrong_credentials_end_an_agent_that_never_had_a_session,
    outages::a_connection_that_breaks_for_5_s_loses_and_doubles_nothing,
    outages::a_connection_that_breaks_for_3_min_loses_and_doubles_nothing,
    outages::a_connection_that_breaks_again_and_again_loses_and_doubles_nothing,
    outages::a_network_that_swallows_everything_is_noticed,
    outages::a_server_that_restarts_goes_on_where_it_was,
    outages::what_is_reported_without_a_server_arrives_when_there_is_one,
    outages::credentials_that_turn_wrong_are_waited_for,
);
