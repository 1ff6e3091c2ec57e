//! Ids of steps.

use piculet_core::id::WorkflowId;
use piculet_core::workload::WorkloadSpec;
use sha2::{Digest, Sha256};

/// 26 characters of 5 bits, as many as a ULID has: enough that no two steps ever share one.
const LENGTH: usize = 26;

/// Gives every step of a workflow an id that is made from the workflow's id and the step's position alone: where no two
/// workflows share an id, no two steps do. The names of files and steps don't count, since they may repeat.
pub fn identify_steps(spec: &mut WorkloadSpec, workflow: &WorkflowId) {
    for (position, step) in spec.stages.iter_mut().flat_map(|stage| &mut stage.steps).enumerate() {
        step.id = step_id(workflow.as_str(), "", position);
    }
}

/// A step's id: the same for the same input, else another. Lower-case letters and digits.
pub(crate) fn step_id(prefix: &str, workflow: &str, position: usize) -> String {
    let mut hash = Sha256::new();
    for part in [prefix, workflow] {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.update(position.to_be_bytes());
    let bits = hash.finalize();
    let bit = |at: usize| bits.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    let digits = (0..LENGTH).map(|at| (0..5).fold(0, |value, offset| value << 1 | bit(at * 5 + offset)));
    digits
        .filter_map(|value| b"abcdefghijklmnopqrstuvwxyz234567".get(value))
        .map(|&letter| char::from(letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use piculet_core::id::WorkflowId;
    use piculet_core::workload::{StageSpec, StepSpec, WorkloadSpec};

    use super::{identify_steps, step_id};

    #[test]
    fn only_the_workflow_and_the_position_make_an_id() {
        let ids = |workflow: &str, stages: &[usize], name: &str| -> Vec<String> {
            let step = StepSpec { id: name.to_owned(), name: name.to_owned(), ..StepSpec::default() };
            let stages = stages.iter().map(|&count| StageSpec { steps: vec![step.clone(); count] }).collect();
            let mut spec = WorkloadSpec { stages, ..WorkloadSpec::default() };
            identify_steps(&mut spec, &WorkflowId::new(workflow));
            spec.stages.into_iter().flat_map(|stage| stage.steps).map(|step| step.id).collect()
        };
        let all = [ids("w-1", &[2, 1], "a"), ids("w-10", &[2, 1], "a")].concat();
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 6, "{all:?}");
        assert!(all.iter().all(|id| id.len() == 26), "{all:?}");
        assert_eq!(ids("w-1", &[2, 1], "a"), ids("w-1", &[1, 2], "b"));
    }

    #[test]
    fn ids_differ_in_every_part() {
        let id = step_id("p", "w", 0);
        assert_eq!(id, step_id("p", "w", 0));
        assert_eq!(id.len(), 26);
        assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        for other in [step_id("q", "w", 0), step_id("p", "v", 0), step_id("p", "w", 1), step_id("", "pw", 0)] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn ids_are_the_base32_of_the_hash() {
        // The same bits, read as one number.
        let id = step_id("p", "w", 0);
        let value = id.bytes().fold(0u128, |value, b| {
            let digit = if b.is_ascii_lowercase() { b - b'a' } else { b - b'2' + 26 };
            value << 5 | u128::from(digit)
        });
        let mut input = vec![];
        for part in ["p", "w"] {
            input.extend(part.len().to_be_bytes());
            input.extend(part.bytes());
        }
        input.extend(0usize.to_be_bytes());
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&input);
        let first = u128::from_be_bytes(hash[..16].try_into().unwrap());
        assert_eq!(value, first << 2 | u128::from(hash[16] >> 6));
    }
}
