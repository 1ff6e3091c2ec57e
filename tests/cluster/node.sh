# A node's kubelet, and what a pod needs beside it: services, and names.

node() { # node
    local node=$1 root=/piculet-$1 controller taints=""
    # The second node is for the tests that break one.
    [ "$node" = node1 ] || taints="registerWithTaints: [{key: piculet.test/breaks, effect: NoSchedule}]"
    # Each kubelet takes what it finds in its group and its directory of logs for its own, so that two need two of each.
    for controller in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        if [ -e "$controller/cgroup.procs" ]; then mkdir -p "$controller$root"; fi
    done
    # A cpuset of version 1 begins without any processor.
    if [ -e /sys/fs/cgroup/cpuset/cpuset.cpus ]; then
        cat /sys/fs/cgroup/cpuset/cpuset.cpus >"/sys/fs/cgroup/cpuset$root/cpuset.cpus"
        cat /sys/fs/cgroup/cpuset/cpuset.mems >"/sys/fs/cgroup/cpuset$root/cpuset.mems"
    fi
    # Images exist only here, so none is ever collected.
    cat >"$cluster_state/$node/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(address_of "$node")
port: $(kubelet_port_of "$node")
healthzPort: 0
readOnlyPort: 0
cgroupRoot: $root
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://$(containerd_of "$node")
podLogsDir: $cluster_state/$node/pods
clusterDNS: [$(address_of node1)]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $pki/$node.crt
tlsPrivateKeyFile: $pki/$node.key
containerLogMaxSize: $(log_size_of "$node")
containerLogMonitorInterval: $(log_interval_of "$node")
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 200Mi, nodefs.available: 2%, nodefs.inodesFree: 1%, imagefs.available: 2%}
maxPods: 200
registerNode: true
$taints
END
    launch "kubelet-$node" "$bin/kubelet" --config "$cluster_state/$node/kubelet.yaml" --kubeconfig "$cluster_state/$node.kubeconfig" \
        --hostname-override "$node" --node-ip "$(address_of "$node")" --root-dir "$cluster_state/$node/kubelet" \
        --cert-dir "$cluster_state/$node/certificates"
}

ready() { [ "$(kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

# One for both nodes: they share this machine's network.
services_and_names() {
    launch kube-proxy "$bin/kube-proxy" --kubeconfig "$cluster_state/proxy.kubeconfig" --hostname-override node1 --proxy-mode iptables \
        --conntrack-max-per-core 0 --bind-address 127.0.0.1 --metrics-bind-address 127.0.0.1:10249 --healthz-bind-address 127.0.0.1:10256
    cat >"$cluster_state/Corefile" <<END
cluster.local:53 in-addr.arpa:53 {
  bind $(address_of node1)
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $cluster_state/dns.kubeconfig piculet-test
    ttl 5
    fallthrough in-addr.arpa
  }
}
.:53 {
  bind $(address_of node1)
  errors
  cache 30
  forward . /etc/resolv.conf
}
END
    launch coredns "$bin/coredns" -conf "$cluster_state/Corefile"
}
