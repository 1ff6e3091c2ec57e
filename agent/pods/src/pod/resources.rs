//! What a step gets of a node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::some_map;
use crate::quantity;
use crate::settings::Resources;
use crate::step::Draft;

/// The step's requests and limits, with the operator's defaults for what it doesn't name.
pub(super) fn of(draft: &Draft<'_>) -> Option<ResourceRequirements> {
    let merged = merge(&draft.options.resources, &draft.settings.default_resources);
    let quantities = |map: BTreeMap<String, String>| {
        some_map(map.into_iter().map(|(name, quantity)| (name, Quantity(quantity))).collect())
    };
    (merged != Resources::default()).then(|| ResourceRequirements {
        requests: quantities(merged.requests),
        limits: quantities(merged.limits),
        claims: None,
    })
}

/// A default gives way where it would contradict the step: a request above its limit is refused by the API server.
fn merge(own: &Resources, defaults: &Resources) -> Resources {
    let mut merged = own.clone();
    for (name, limit) in &defaults.limits {
        let request = own.requests.get(name).filter(|request| is_more(request, limit));
        merged.limits.entry(name.clone()).or_insert_with(|| request.unwrap_or(limit).clone());
    }
    for (name, request) in &defaults.requests {
        let limit = merged.limits.get(name).filter(|limit| is_more(request, limit));
        merged.requests.entry(name.clone()).or_insert_with(|| limit.unwrap_or(request).clone());
    }
    merged
}

fn is_more(a: &str, b: &str) -> bool {
    quantity::parse(a).zip(quantity::parse(b)).is_some_and(|(a, b)| a > b)
}

#[cfg(test)]
mod tests {
    use super::merge;
    use crate::settings::Resources;

    fn resources(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Resources {
        let map = |entries: &[(&str, &str)]| {
            entries.iter().map(|&(name, quantity)| (name.to_owned(), quantity.to_owned())).collect()
        };
        Resources { requests: map(requests), limits: map(limits) }
    }

    #[test]
    fn defaults_fill_in_what_a_step_does_not_name() {
        let defaults = resources(&[("cpu", "1"), ("memory", "1Gi")], &[("memory", "2Gi")]);
        assert_eq!(merge(&Resources::default(), &defaults), defaults);
        assert_eq!(
            merge(&resources(&[("cpu", "3")], &[]), &defaults),
            resources(&[("cpu", "3"), ("memory", "1Gi")], &[("memory", "2Gi")])
        );
    }

    #[test]
    fn a_default_never_contradicts_the_step() {
        let defaults = resources(&[("memory", "1Gi")], &[("memory", "2Gi")]);
        assert_eq!(
            merge(&resources(&[], &[("memory", "512Mi")]), &defaults),
            resources(&[("memory", "512Mi")], &[("memory", "512Mi")])
        );
        assert_eq!(
            merge(&resources(&[("memory", "4G")], &[]), &defaults),
            resources(&[("memory", "4G")], &[("memory", "4G")])
        );
    }
}
