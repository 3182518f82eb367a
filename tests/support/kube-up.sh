#!/bin/bash
# kube-up.sh BIN DIR NAME PORT [apiserver flags...]: real API server NAME on 127.0.0.1:PORT; all share one etcd on
# 127.0.0.1:$ETCD_PORT. Both run in sessions of their own (setsid), so that they outlive this script; DIR/*.pid names them.
set -eu; B=$1 D=$2 N=$3 PORT=$4; shift 4; E=${ETCD_PORT:-23790}; T=$D/tls; mkdir -p $D
[ -f $T/sa.pub ] || "$(dirname "$0")"/certs.sh $T
if ! curl -sf -o /dev/null http://127.0.0.1:$E/health; then
  setsid $B/etcd --data-dir $D/etcd --listen-client-urls http://127.0.0.1:$E --advertise-client-urls http://127.0.0.1:$E \
    --listen-peer-urls http://127.0.0.1:0 --unsafe-no-fsync > $D/etcd.log 2>&1 & echo $! > $D/etcd.pid
fi
setsid $B/kube-apiserver --etcd-servers=http://127.0.0.1:$E --etcd-prefix=/$N \
  --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port=$PORT --endpoint-reconciler-type=none \
  --cert-dir=$D/$N-certs --tls-cert-file=$T/apiserver.crt --tls-private-key-file=$T/apiserver.key --client-ca-file=$T/ca.crt \
  --service-account-key-file=$T/sa.pub --service-account-signing-key-file=$T/sa.key \
  --service-account-issuer=https://kubernetes.default.svc --api-audiences=https://kubernetes.default.svc \
  --service-cluster-ip-range=10.0.0.0/24 --authorization-mode=Node,RBAC --allow-privileged=true \
  --enable-admission-plugins=NodeRestriction "$@" > $D/$N.log 2>&1 & echo $! > $D/$N.pid
b() { base64 -w0 < $T/$1; }
cat > $D/$N.kubeconfig <<C
{"apiVersion":"v1","kind":"Config","current-context":"c",
 "clusters":[{"name":"c","cluster":{"server":"https://localhost:$PORT","certificate-authority-data":"$(b ca.crt)"}}],
 "users":[{"name":"u","user":{"client-certificate-data":"$(b admin.crt)","client-key-data":"$(b admin.key)"}}],
 "contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}]}
C
for i in $(seq 300); do
  [ "$(curl -s -o /dev/null -w '%{http_code}' --cacert $T/ca.crt --cert $T/admin.crt --key $T/admin.key https://localhost:$PORT/readyz)" = 200 ] && exit 0
  sleep 0.1; done; tail $D/$N.log >&2; exit 1
