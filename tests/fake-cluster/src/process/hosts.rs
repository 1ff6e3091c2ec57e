//! The names of pods, and the files in which a container finds them.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// The longest host name that the kernel takes.
const HOST_NAME_MAX: usize = 63;

/// The host name of a pod's containers.
pub(super) fn host_name(pod: &Pod) -> String {
    let given = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let name = given.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // Names of pods may have dots and be longer than a host's.
    let name: String = name.chars().take(HOST_NAME_MAX).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The names under which the other pods of its workflow find a pod: those that the cluster's DNS would have.
pub(super) fn names(pod: &Pod) -> Vec<String> {
    let Some(PodSpec { hostname: Some(host), subdomain: Some(subdomain), dns_config, .. }) = &pod.spec else {
        return Vec::new();
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut names = vec![host.clone()];
    for suffix in ["", ".svc", ".svc.cluster.local"] {
        names.push(format!("{host}.{subdomain}.{namespace}{suffix}"));
    }
    names.insert(1, format!("{host}.{subdomain}"));
    for search in dns_config.iter().flat_map(|dns| &dns.searches).flatten() {
        let name = format!("{host}.{search}");
        if search.starts_with(&format!("{subdomain}.")) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A line of a hosts file, for a pod of this machine; empty if nobody looks for it.
pub(super) fn line(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("127.0.0.1 {}\n", names.join(" ")) }
}

/// A container's hosts file, before the pods of its workflow.
pub(super) fn hosts_file(pod: &Pod) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    let own = host_name(pod);
    text.push_str(&line(&[own]));
    for alias in pod.spec.iter().flat_map(|spec| &spec.host_aliases).flatten() {
        let names = alias.hostnames.clone().unwrap_or_default();
        text.extend([&alias.ip, " ", &names.join(" "), "\n"]);
    }
    text
}

/// A container's resolver configuration: what the pod says, then what the host has.
pub(super) fn resolver(pod: &Pod, of_host: &str) -> String {
    let mut text = String::new();
    for dns in pod.spec.iter().filter_map(|spec| spec.dns_config.as_ref()) {
        for server in dns.nameservers.iter().flatten() {
            text.extend(["nameserver ", server, "\n"]);
        }
        // The names in the cluster's own domain are in the hosts file.
        let searches: Vec<&str> =
            dns.searches.iter().flatten().map(String::as_str).filter(|search| !search.contains(".svc.")).collect();
        if !searches.is_empty() {
            text.extend(["search ", &searches.join(" "), "\n"]);
        }
    }
    text + of_host
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::{host_name, hosts_file, line, names, resolver};

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "wp-1", "namespace": "ci" },
            "spec": {
                "containers": [],
                "hostname": "postgres",
                "subdomain": "wp-hsvc-1",
                "hostAliases": [{ "ip": "10.0.0.1", "hostnames": ["db", "db2"] }],
                "dnsConfig": { "nameservers": ["9.9.9.9"], "searches": ["wp-hsvc-1.ci.svc.corp", "example.org"] },
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_found_under_the_names_of_the_clusters_dns() {
        let expected = "127.0.0.1 postgres postgres.wp-hsvc-1 postgres.wp-hsvc-1.ci postgres.wp-hsvc-1.ci.svc \
            postgres.wp-hsvc-1.ci.svc.cluster.local postgres.wp-hsvc-1.ci.svc.corp\n";
        assert_eq!(line(&names(&pod())), expected);
        assert_eq!(line(&names(&Pod::default())), "");
    }

    #[test]
    fn aliases_and_resolvers_are_those_of_the_pod() {
        assert!(hosts_file(&pod()).ends_with("127.0.0.1 postgres\n10.0.0.1 db db2\n"));
        let text = resolver(&pod(), "nameserver 1.1.1.1\n");
        assert_eq!(text, "nameserver 9.9.9.9\nsearch example.org\nnameserver 1.1.1.1\n");
    }

    #[test]
    fn a_host_name_is_cut_to_what_the_kernel_takes() {
        let mut pod = pod();
        assert_eq!(host_name(&pod), "postgres");
        pod.spec.as_mut().unwrap().hostname = None;
        pod.metadata.name = Some(format!("{}-tail", "a".repeat(62)));
        assert_eq!(host_name(&pod), "a".repeat(62));
    }
}
