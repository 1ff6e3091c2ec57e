use super::State;

#[test]
fn the_worst_of_two_states_wins() {
    use State::{Canceled, Failure, Killed, Pending, Running, Skipped, Success};
    for (one, other, both) in [
        (Success, Success, Success),
        (Success, Skipped, Success),
        (Skipped, Skipped, Skipped),
        (Success, Failure, Failure),
        (Killed, Failure, Killed),
        (Canceled, Killed, Killed),
        (Canceled, Success, Killed),
        (Canceled, Canceled, Canceled),
        (Running, Failure, Running),
        (Success, Killed, Killed),
        (Running, Success, Running),
        (Pending, Running, Running),
    ] {
        assert_eq!((one.merged(other), other.merged(one)), (both, both), "{one:?} and {other:?}");
    }
}

#[test]
fn what_is_over_is_told_from_what_is_not() {
    let open = [State::Blocked, State::Pending, State::Running];
    let over = [State::Success, State::Failure, State::Killed, State::Canceled, State::Skipped];
    assert!(open.iter().all(|state| !state.is_terminal()));
    assert!(over.iter().all(|state| state.is_terminal()));
}
