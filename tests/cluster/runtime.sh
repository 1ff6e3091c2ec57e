# A node's containers: a network bridge, containerd, and the images that the tests name.

runtime() { # node
    local node=$1
    local address bridge=piculet-$1 at=$cluster_run/$1
    address=$(address_of "$node")
    mkdir -p "$at" "$cluster_state/$node/networks"

    sysctl -qw net.ipv4.ip_forward=1
    # Services are reached through iptables also by a pod on the same bridge. Where the module is missing, only those aren't.
    sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
    ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
    ip address replace "$address/24" dev "$bridge"
    ip link set "$bridge" up

    cat >"$cluster_state/$node/networks/piculet.conflist" <<END
{"cniVersion": "1.0.0", "name": "piculet-$node", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam": {
    "type": "host-local", "dataDir": "$cluster_state/$node/addresses", "routes": [{"dst": "0.0.0.0/0"}],
    "ranges": [[{"subnet": "${address%.*}.0/24", "gateway": "$address"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE the kernel refuses a score below the own one, and runc then fails
    # with no more than "can't get final child's PID from pipe: EOF".
    cat >"$cluster_state/$node/containerd.toml" <<END
version = 2
root = "$cluster_state/$node/containerd"
state = "$at/containerd"
[grpc]
  address = "$(containerd_of "$node")"
[plugins."io.containerd.internal.v1.opt"]
  path = "$cluster_state/$node/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$cluster_state/$node/networks"
END
    launch "containerd-$node" containerd --config "$cluster_state/$node/containerd.toml"
    await "containerd of $node" 30 ctr "$node" version
    images "$node"
}

# There is no registry: every image that a test names is made here. None is called `latest`, since the kubelet always
# pulls those.
images() { # node
    local present
    present=$(ctr "$1" images ls -q)
    if ! grep -q pause <<<"$present"; then
        "$bin/image" -out "$cluster_state/pause.tar" -file "$bin/pause=/pause" -entrypoint /pause -user 65535:65535 registry.k8s.io/pause:3.10
        ctr "$1" images import "$cluster_state/pause.tar" >/dev/null
    fi
    if ! grep -q busybox <<<"$present"; then
        "$bin/image" -out "$cluster_state/busybox.tar" -busybox "$(command -v busybox)" -cmd sh \
            docker.io/library/busybox:stable docker.io/library/alpine:3
        ctr "$1" images import "$cluster_state/busybox.tar" >/dev/null
    fi
}
