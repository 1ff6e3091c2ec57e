//! Keys that Woodpecker knew once. Version 3 ignores them; here their authors learn what became of them.

/// What to say of a key of older versions, and what to write today.
pub(super) fn explain(owner: &str, key: &str) -> Option<(String, &'static str)> {
    let hint = if owner == "the workflow" { of_workflow(key)? } else { of_step(key)? };
    Some((format!("'{key}' is no longer a key of {owner}; it is ignored"), hint))
}

fn of_workflow(key: &str) -> Option<&'static str> {
    Some(match key {
        "pipeline" => "there are `steps` too, and they are what runs; remove `pipeline`",
        "branches" => "this filter is NOT applied; write `when: [{branch: …}]`",
        "platform" => "write `labels: {platform: …}`",
        "version" => "remove it",
        _ => return None,
    })
}

fn of_step(key: &str) -> Option<&'static str> {
    Some(match key {
        "group" => "steps run one after another unless they say `depends_on`",
        "command" => "write `commands` or `entrypoint`",
        "networks" => "services are reached by their names, without it",
        "user" => "write `backend_options: {kubernetes: {securityContext: {runAsUser: …}}}`",
        _ => return None,
    })
}
