# One authority, a certificate for each component, and the kubeconfigs that hold them. All are made once for a state.

certificates() {
    mkdir -p "$pki"
    local node addresses=IP:127.0.0.1,IP:$service_network.1
    for node in $nodes; do addresses+=,IP:$(address_of "$node"); done
    if [ ! -s "$pki/ca.crt" ]; then
        key "$pki/ca.key"
        openssl req -x509 -new -key "$pki/ca.key" -days 3650 -subj /CN=piculet-test-cluster -out "$pki/ca.crt" \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
        key "$pki/service-accounts.key"
        openssl ec -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
    fi
    certificate apiserver /CN=kube-apiserver \
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,$addresses"
    certificate apiserver-to-kubelet /O=system:masters/CN=apiserver-to-kubelet
    certificate admin /O=system:masters/CN=admin
    certificate controllers /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate dns /CN=system:coredns
    for node in $nodes; do
        certificate "$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$(address_of "$node")"
        kubeconfig_for "$node" "$cluster_state/$node.kubeconfig"
    done
    local client
    for client in controllers scheduler proxy dns; do kubeconfig_for $client "$cluster_state/$client.kubeconfig"; done
    kubeconfig_for admin "$kubeconfig"
}

key() { (umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out "$1"); }

certificate() { # name subject [other names]
    [ -s "$pki/$1.crt" ] && return
    key "$pki/$1.key"
    openssl req -new -key "$pki/$1.key" -subj "$2" -out "$pki/$1.csr"
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -out "$pki/$1.crt" -extfile <(
        echo keyUsage=critical,digitalSignature
        echo extendedKeyUsage=serverAuth,clientAuth
        [ -z "${3:-}" ] || echo "subjectAltName=$3"
    ) 2>/dev/null
    rm "$pki/$1.csr"
}

kubeconfig_for() { # certificate file
    (umask 077 && cat >"$2") <<END
apiVersion: v1
kind: Config
current-context: piculet-test
clusters:
- name: piculet-test
  cluster: {server: "https://127.0.0.1:$api_port", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
contexts:
- name: piculet-test
  context: {cluster: piculet-test, user: $1}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}
END
}
