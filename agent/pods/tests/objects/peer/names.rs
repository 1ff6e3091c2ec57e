//! Names, by the rules as they are written down, against those that are made.

use piculet_core::id::{Attempt, StepIndex};
use piculet_core::workload::StepSpec;
use piculet_pods::names::{Names, dns_name, host_name, is_dns_label, is_dns_name, label_value, short_hash};
use proptest::prelude::*;

use super::{CLAIM, POD, made, peers, workflow_of};
use crate::world::{minimal, service};

/// Every run of at least `least` characters that belong together, as one character.
fn squeezed(text: &str, least: usize, belongs: fn(char) -> bool, joint: fn(&str) -> char) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for c in text.chars().map(Some).chain([None]) {
        match c {
            Some(c) if belongs(c) => run.push(c),
            other => {
                if run.chars().count() >= least {
                    out.push(joint(&run));
                } else {
                    out.push_str(&run);
                }
                run.clear();
                out.extend(other);
            }
        }
    }
    out
}

/// Cut to `longest`, with a hash of the original in the place of the rest.
fn cut(name: &str, longest: usize, ends: &[char], original: &str) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let kept: String = name.chars().take(longest - 17).collect();
    format!("{}-{}", kept.trim_end_matches(ends), short_hash(original))
}

fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

fn theirs_as_dns_name(text: &str) -> Option<String> {
    let name = squeezed(&lower(text), 1, |c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.'), |_| '-');
    let name = squeezed(&name, 2, |c| matches!(c, '-' | '.'), |run| if run.contains('.') { '.' } else { '-' });
    let name = cut(name.trim_matches(['-', '.']), 253, &['-', '.'], text);
    is_dns_name(&name).then_some(name)
}

fn theirs_as_label(text: &str) -> String {
    let value = squeezed(&lower(text), 1, |c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'), |_| '-');
    let value = squeezed(&value, 2, |c| matches!(c, '-' | '_' | '.'), |_| '-');
    cut(value.trim_matches(['-', '_', '.']), 63, &['-', '_', '.'], text)
}

fn theirs_as_host(text: &str) -> Option<String> {
    let name = theirs_as_dns_name(text).unwrap_or_else(|| lower(text)).replace('.', "-");
    let name: String = name.chars().take(63).collect();
    let name = name.trim_matches('-');
    is_dns_label(name).then(|| name.to_owned())
}

#[test]
fn the_rules_give_the_known_examples() {
    assert_eq!(theirs_as_dns_name("BUILD_AND_DEPLOY_0").as_deref(), Some("build-and-deploy-0"));
    assert_eq!(theirs_as_dns_name("ABC..DEF").as_deref(), Some("abc.def"));
    assert_eq!(theirs_as_dns_name("a.-.-b").as_deref(), Some("a.b"));
    assert_eq!(theirs_as_dns_name("!!!"), None);
    assert_eq!(theirs_as_label("Deploy (production)"), "deploy-production");
    assert_eq!((theirs_as_label("a__b").as_str(), theirs_as_label("run_tests").as_str()), ("a-b", "run_tests"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn names_are_made_by_the_peers_rules(
        text in prop_oneof![
            "[A-Za-z0-9._ /-]{0,40}",
            "[-a._é ]{0,12}",
            ".{0,30}",
            // About as long as a label and as a name may be, with something to trim where they are cut.
            "[aB]{40,47}[a._é-]{0,4}[aB]{10,30}",
            "[aB]{230,238}[a._é-]{0,4}[aB]{8,30}",
        ],
    ) {
        prop_assert_eq!(dns_name(&text), theirs_as_dns_name(&text), "{:?}", text);
        prop_assert_eq!(label_value(&text), theirs_as_label(&text), "{:?}", text);
        prop_assert_eq!(host_name(&text), theirs_as_host(&text), "{:?}", text);
    }
}

#[test]
fn every_object_has_the_peers_name() {
    let names = |step: StepSpec| {
        let workload = workflow_of(step, &[]);
        Names::new(&workload).of(StepIndex(0), Attempt::FIRST)
    };
    let build = names(minimal());
    assert_eq!((build.pod.as_str(), build.container.as_str(), build.registry_secret.as_str()), (POD, POD, POD));
    assert_eq!((build.step_secret, build.init_container), (format!("{POD}-step-secret"), format!("init-{POD}")));
    let detached = names(StepSpec { detached: true, ..minimal() });
    assert_eq!(detached.pod, POD, "only a service has a name of its own");
    let database = names(service("My_Data.base"));
    assert_eq!(database.pod, "wp-svc-01k3cz8w5t2q4r6s8v0x1y3z5a-my-data.base");
    assert_eq!(database.registry_secret, POD);
}

#[test]
fn a_claim_is_called_what_the_server_calls_its_volume_and_a_step_what_it_calls_itself() {
    let objects = made(StepSpec { workspace_base: "/base".to_owned(), ..minimal() }, &peers(&serde_json::json!({})));
    let spec = objects.pod.spec.expect("a spec");
    let claims: Vec<_> = spec.volumes.iter().flatten().filter_map(|v| v.persistent_volume_claim.as_ref()).collect();
    assert_eq!(claims.iter().map(|claim| claim.claim_name.as_str()).collect::<Vec<_>>(), [CLAIM]);
    let mounts: Vec<_> = spec.containers[0].volume_mounts.iter().flatten().map(|m| m.mount_path.as_str()).collect();
    assert_eq!(mounts, ["/base"]);
    for (name, label) in [("Deploy (production)", "deploy-production"), ("🚀", ""), ("a__b", "a-b")] {
        let pod = made(StepSpec { name: name.to_owned(), ..minimal() }, &peers(&serde_json::json!({}))).pod;
        let labels = pod.metadata.labels.expect("labels");
        assert_eq!((labels["step"].as_str(), labels["woodpecker-ci.org/step"].as_str()), (label, label));
    }
}
