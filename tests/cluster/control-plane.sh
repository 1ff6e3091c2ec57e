# etcd, the API server, and the controllers.

control_plane() {
    launch etcd etcd --name piculet --data-dir "$cluster_state/etcd" --log-outputs stderr --logger zap \
        --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$etcd_peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port" \
        --initial-cluster "piculet=http://127.0.0.1:$etcd_peer_port" --auto-compaction-retention 1
    await etcd 30 curl -sf "http://127.0.0.1:$etcd_port/health"

    # A node that is gone is noticed after 12 s, not 50, and its pods are given up 5 s after that, not 300: tests wait for both.
    # Policies that change pods stand for the webhooks that clusters have, which put containers and settings into them.
    launch kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" --bind-address 0.0.0.0 --secure-port "$api_port" \
        --advertise-address "$(address_of node1)" --service-cluster-ip-range "$service_network.0/16" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged=true --profiling=false \
        --feature-gates MutatingAdmissionPolicy=true --runtime-config admissionregistration.k8s.io/v1beta1=true \
        --default-not-ready-toleration-seconds 5 --default-unreachable-toleration-seconds 5 \
        --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --kubelet-client-certificate "$pki/apiserver-to-kubelet.crt" --kubelet-client-key "$pki/apiserver-to-kubelet.key" \
        --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/service-accounts.pub" \
        --service-account-signing-key-file "$pki/service-accounts.key"
    await "the API server" 180 kubectl get --raw /readyz
    say "the API server answers"

    launch kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$cluster_state/controllers.kubeconfig" \
        --authentication-kubeconfig "$cluster_state/controllers.kubeconfig" --authorization-kubeconfig "$cluster_state/controllers.kubeconfig" \
        --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt" --use-service-account-credentials=true \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" --leader-elect=false \
        --enable-hostpath-provisioner=true --node-monitor-grace-period 12s --bind-address 127.0.0.1
    launch kube-scheduler "$bin/kube-scheduler" --kubeconfig "$cluster_state/scheduler.kubeconfig" \
        --authentication-kubeconfig "$cluster_state/scheduler.kubeconfig" --authorization-kubeconfig "$cluster_state/scheduler.kubeconfig" \
        --leader-elect=false --bind-address 127.0.0.1
    if [ ! -e "$volumes" ]; then touch "$cluster_state/made-volumes"; fi
    launch open-volumes "$bin/open-volumes" "$volumes"
    kubectl apply -f "$here/objects.yaml" >/dev/null
}
