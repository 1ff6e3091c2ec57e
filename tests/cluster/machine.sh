# What this machine has to have. Where it lacks something that no package brings, the cluster can't be had: exit code 69
# (`EX_UNAVAILABLE`), and a sentence that says why.

unavailable() {
    echo "no test cluster on this machine: $*" >&2
    exit 69
}

machine() {
    [ "$(uname -s)" = Linux ] || unavailable "it has to be Linux"
    [ "$(id -u)" = 0 ] || unavailable "a kubelet needs root"
    [ -w /sys/fs/cgroup ] && grep -qE 'cgroup2? /sys/fs/cgroup' /proc/mounts || unavailable "there are no writable control groups at /sys/fs/cgroup"
    # The state's file system has to hold overlays: a container's own root can't lie on another overlay.
    mkdir -p "$cluster_state"
    [ "$(stat -f -c %T "$cluster_state")" != overlayfs ] || unavailable "$cluster_state is on an overlay; name another place in PICULET_CLUSTER_STATE"
    command -v go >/dev/null || [ -x "$bin/hyperkube" ] || unavailable "Go builds Kubernetes, and there is none"
    packages
}

packages() {
    local missing=() each
    for each in containerd:containerd runc:runc iptables:iptables ip:iproute2 etcd:etcd-server conntrack:conntrack \
        busybox:busybox-static openssl:openssl curl:curl; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${each%:*}" >/dev/null || missing+=("${each#*:}")
    done
    [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || unavailable "it lacks ${missing[*]}, and isn't a Debian where they could be installed"
    say "installing ${missing[*]}"
    # A package that starts a service of its own would take the ports and groups that the cluster needs.
    apt-get update -qq >"$logs/packages.log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$logs/packages.log" 2>&1 ||
        unavailable "${missing[*]} could not be installed: $(tail -n 1 "$logs/packages.log")"
}
