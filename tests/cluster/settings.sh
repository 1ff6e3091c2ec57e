# Where the test cluster keeps what it has, and the numbers that it uses. Sourced by its scripts; every value can be set in
# the environment, so that two clusters can lie side by side on one disk (though not run side by side).

# What was built is kept apart from the checkout, since it takes a quarter of an hour on two cores.
cluster_cache=${PICULET_CLUSTER_CACHE:-${PICULET_CI_CACHE:-$HOME/.cache/piculet-ci}/cluster}
# Certificates, databases, volumes, logs, process ids: all of one cluster's life.
cluster_state=${PICULET_CLUSTER_STATE:-$cluster_cache/state}
# Sockets, and containerd's mounts: a path has to be short here.
cluster_run=${PICULET_CLUSTER_RUN:-/run/piculet-cluster}

bin=$cluster_cache/bin
pki=$cluster_state/pki
pids=$cluster_state/pids
logs=$cluster_state/logs
kubeconfig=$cluster_state/kubeconfig
# The provisioner's own, which can't be set. What others have there stays.
volumes=/tmp/hostpath_pv

kubernetes_version=v1.34.4

# The first node takes all pods, the second only those that tolerate its taint: tests may stop its kubelet.
nodes=${PICULET_CLUSTER_NODES:-node1 node2}

api_port=${PICULET_CLUSTER_API_PORT:-6443}
etcd_port=${PICULET_CLUSTER_ETCD_PORT:-23790}
etcd_peer_port=${PICULET_CLUSTER_ETCD_PEER_PORT:-23800}
# Node n has the network $pod_network.n.0/24, whose gateway (.1) is also the node's own address.
pod_network=${PICULET_CLUSTER_POD_NETWORK:-10.244}
service_network=${PICULET_CLUSTER_SERVICE_NETWORK:-10.96.0}

# A kubelet keeps 5 files of each log, looks now and then whether the newest has this size, and serves that one alone. The first
# node's are those of every cluster, the second's small, so that tests see many rotations.
log_size_of() { if [ "$1" = node1 ]; then echo 10Mi; else echo 1Mi; fi; }
log_interval_of() { if [ "$1" = node1 ]; then echo 10s; else echo 3s; fi; }

number_of() { echo "${1//[^0-9]/}"; }                      # node2 -> 2
address_of() { echo "$pod_network.$(number_of "$1").1"; }  # node2 -> 10.244.2.1
kubelet_port_of() { echo $((10249 + $(number_of "$1"))); }
containerd_of() { echo "$cluster_run/$1/containerd.sock"; }

kubectl() { "$bin/kubectl" --kubeconfig "$kubeconfig" "$@"; }
ctr() { command ctr --address "$(containerd_of "$1")" --namespace k8s.io "${@:2}"; }

began=$(date +%s%N)
say() { printf '%7.1f s  %s\n' "$((($(date +%s%N) - began) / 100000000))e-1" "$*"; }
