//! The page of all settings, made from the registry and from what `piculet-pods` says of itself.

use std::fmt::Write as _;

use piculet_pods::Settings;
use piculet_pods::settings::Profile;
use serde_json::Value;

use super::settings::{Place, SETTINGS};

const HEAD: &str = "# Settings

piculet reads a YAML file (`--config FILE`, or `PICULET_CONFIG`), then the Woodpecker agent's variables
([woodpecker.md](woodpecker.md)), then `PICULET_*` variables, then flags; later ones win. Every setting can be given with
`--set key=value`. Unknown keys and unknown `PICULET_*` variables are refused. `piculet check` tells everything that is
wrong at once.

A file `.env` in the working directory may hold variables, too, one `NAME=value` in a line: those that begin with `PICULET_`,
`WOODPECKER_` or `OTEL_`, and `KUBECONFIG`, `KUBERNETES_SERVICE_HOST` and `HOME`. One that the environment itself has goes
before the file's.

Durations are written `90s`, `10m` or `1h 30m`, sizes `512Ki` or `64Mi`.

Traces are configured by OpenTelemetry's own variables: see [traces.md](traces.md).

| key | variable | default | meaning |
|---|---|---|---|
";

const PODS: &str = "
## `pods`

What the pods look like. The variable of `pods.x` is `PICULET_PODS_X`; what is not a plain text is written there as YAML.
With the protocol `woodpecker` the default of `pods.namespace` is `woodpecker`, and that of `pods.profile` is `compat`. What the
two profiles mean, and where they differ in the table, is told in [security.md](security.md#steps).

| key | default | with `compat` |
|---|---|---|
";

/// The page, as Markdown.
pub(super) fn settings_page() -> String {
    let mut page = HEAD.to_owned();
    for setting in SETTINGS {
        let key = match setting.place {
            Place::Anywhere => format!("`{}`", setting.key),
            Place::Environment => "(variable only)".to_owned(),
        };
        let default = match setting.default {
            "" => String::new(),
            words if words.contains(' ') => words.to_owned(),
            value => format!("`{value}`"),
        };
        // Writing to a String can't fail.
        let _always = writeln!(page, "| {key} | `{}` | {default} | {} |", setting.variable(), setting.help);
    }
    page.push_str(PODS);
    let of = |profile| serde_json::to_value(Settings::default().under(profile)).unwrap_or_default();
    rows(&mut page, "pods", &of(Profile::Hardened), &of(Profile::Compat));
    page
}

fn rows(page: &mut String, prefix: &str, fields: &Value, compat: &Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                rows(page, &format!("{prefix}.{name}"), value, &compat[name]);
            }
            value => {
                let other = if *value == compat[name] { String::new() } else { written(&compat[name], "none") };
                let _always = writeln!(page, "| `{prefix}.{name}` | {} | {other} |", written(value, ""));
            }
        }
    }
}

fn written(value: &Value, nothing: &str) -> String {
    if value.is_null() { nothing.to_owned() } else { format!("`{value}`") }
}
