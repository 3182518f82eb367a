#!/usr/bin/env bash
# demo.sh BIN_DIR: a simulated fleet, the hub and two collectors on this machine. Ctrl-C ends it. With DEMO_SECONDS=N it
# also turns a node of each push cluster NotReady and back, ends by itself, and exits 0 only when the table showed that
# within 3 s and every cluster is healthy at the end.
set -euo pipefail
bin=$(cd "$1" && pwd)
seconds=${DEMO_SECONDS:-0}
namespace=default
pull_clusters=(cluster-1) push_clusters=(cluster-2 cluster-3)
dir=$(mktemp -d "${TMPDIR:-/tmp}/clusterpulse-demo.XXXXXX")
pids=()
finish() {
  # CONT: for one that somebody stopped to see what happens.
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null && kill -CONT "$pid" 2> /dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
fail() { echo "demo: $1" >&2; [ ! -f "${2:-}" ] || tail -20 "$2" >&2; exit 1; }
# start LOG program...: in the background, ended with the demo; its pid is in $started.
start() { local log=$1; shift; "$@" > "$log" 2>&1 & started=$!; pids+=("$started"); }
# Only for commands that end: `start` takes the program itself.
hub() { "$bin/clusterpulse-hub" "$@"; }
# wait_for LIMIT_SECONDS command...
wait_for() {
  local until=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -lt $until ] || return 1; sleep 0.1; done
}
# A bare machine has neither kubectl nor curl: these two speak HTTP themselves.
# control COMMAND: to kubesim's control port.
control() {
  local line
  exec 3<> "/dev/tcp/127.0.0.1/${control##*:}"
  printf 'POST %s HTTP/1.1\r\nHost: kubesim\r\nConnection: close\r\n\r\n' "$1" >&3
  read -r line <&3
  exec 3>&-
  [[ $line == *" 200 "* ]] || fail "kubesim refused $1: $line"
}
# fetch_token CLUSTER: as kubectl get secret CLUSTER-collector-token -o jsonpath='{.data.token}' | base64 -d
fetch_token() {
  local server; server=$(awk '$1 == "server:" {sub("https://", "", $2); print $2}' "$KUBECONFIG")
  awk '$1 == "certificate-authority-data:" {print $2}' "$KUBECONFIG" | base64 -d > "$dir/hub-ca.crt"
  printf 'GET /api/v1/namespaces/%s/secrets/%s-collector-token HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n' \
    $namespace "$1" "$server" "$(awk '$1 == "token:" {print $2}' "$KUBECONFIG")" |
    openssl s_client -quiet -verify_return_error -CAfile "$dir/hub-ca.crt" -connect "$server" 2> /dev/null |
    sed -n 's/.*"token":"\([^"]*\)".*/\1/p' | base64 -d > "$dir/$1.token"
  [ -s "$dir/$1.token" ]
}
# Nobody listens on the port.
is_free() { ! (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

echo "1/5 starting four simulated API servers (kubesim): the hub cluster and three managed ones, the last OpenShift-like"
start "$dir/kubesim.log" "$bin/kubesim" --hub 1 --clusters 3 --openshift 1 --operators 4 --nodes 6 --pods-per-node 25 \
  --churn 5 --seed 7 --dir "$dir" --control 127.0.0.1:0
wait_for 30 grep -q '^ready' "$dir/kubesim.log" || fail "kubesim did not start" "$dir/kubesim.log"
control=$(awk '$1 == "control" {print $2}' "$dir/kubesim.log")
export KUBECONFIG=$dir/hub.kubeconfig
port=$((20000 + RANDOM % 10000))
until is_free $port; do port=$((port + 1)); done

echo "2/5 installing the custom resource definitions: clusterpulse-hub crds apply"
hub crds apply

echo "3/5 connecting the clusters: clusterpulse-hub connect NAME --from KUBECONFIG [--push]"
for name in "${pull_clusters[@]}"; do
  hub connect "$name" --from "$dir/$name.kubeconfig" --namespace $namespace
done
for name in "${push_clusters[@]}"; do
  hub connect "$name" --from "$dir/$name.kubeconfig" --namespace $namespace --push --ingester-address 127.0.0.1:$port
done

echo "4/5 starting the hub on its embedded store, its ingester with a certificate of its own"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=clusterpulse demo" \
  -addext "subjectAltName=IP:127.0.0.1" -keyout "$dir/tls.key" -out "$dir/tls.crt" 2> /dev/null
start "$dir/hub.log" env INGESTER_PORT=$port INGESTER_TLS_ENABLED=true INGESTER_TLS_CERT="$dir/tls.crt" \
  INGESTER_TLS_KEY="$dir/tls.key" "$bin/clusterpulse-hub" --namespace $namespace --log-format text \
  --metrics-bind-address 127.0.0.1:0 --health-probe-bind-address 127.0.0.1:0

echo "5/5 starting the collectors of ${push_clusters[*]} with the tokens the hub made: Secrets NAME-collector-token"
declare -A collector
for name in "${push_clusters[@]}"; do
  wait_for 30 fetch_token "$name" || fail "the hub made no token for $name" "$dir/hub.log"
  start "$dir/collector-$name.log" env CLUSTER_NAME="$name" INGESTER_ADDRESS=127.0.0.1:$port \
    COLLECTOR_TOKEN_FILE="$dir/$name.token" INGESTER_TLS_ENABLED=true INGESTER_TLS_CA="$dir/tls.crt" COLLECT_INTERVAL=10 \
    "$bin/clusterpulse-collector" --kubeconfig "$dir/$name.kubeconfig" --log-format text \
    --metrics-bind-address 127.0.0.1:0 --health-probe-bind-address 127.0.0.1:0
  collector[$name]=$started
done

# Every row says Connected and healthy.
all_healthy() {
  hub fleet --namespace $namespace > "$dir/fleet" 2> /dev/null &&
    awk 'NR > 1 { n++; if ($3 != "Connected" || $4 != "healthy") bad = 1 } END { exit !(n == 3 && !bad) }' "$dir/fleet"
}
wait_for 60 all_healthy || { cat "$dir/fleet"; fail "not every cluster became healthy within 60 s" "$dir/hub.log"; }
echo
cat "$dir/fleet"

cat > "$dir/help" << TEXT

The fleet is up. In another terminal:
  export KUBECONFIG=$KUBECONFIG
  kubectl get clusterconnections -n $namespace            # or: $bin/clusterpulse-hub fleet --namespace $namespace --watch
  kubectl describe clusterconnection cluster-3 -n $namespace
Break something:
  curl -X POST '$control/node?server=cluster-2&name=node-1&ready=false'   # ready=true mends it; curl $control lists what else
  kill ${collector[cluster-3]}    # a collector: the hub says so after 15 s, then reads the cluster itself
Logs: $dir/*.log

TEXT
cat "$dir/help"

if [ "$seconds" -eq 0 ]; then
  while true; do
    hub fleet --namespace $namespace > "$dir/fleet" 2>&1 || true
    [ ! -t 1 ] || { printf '\e[H\e[2J'; cat "$dir/help"; }
    cat "$dir/fleet"
    sleep 1 &
    wait $!
  done
fi

# The table as a person sees it, one print after the other.
: > "$dir/table"  # it is read before the program has made it
start "$dir/table" "$bin/clusterpulse-hub" fleet --namespace $namespace --watch --interval 1
# shows CLUSTER HEALTH NODES_READY: the newest row of the cluster
shows() { awk -v name="$1" '$1 == name { row = $4 " " $5 } END { print row }' "$dir/table" | grep -qx "$2 $3"; }
for name in "${push_clusters[@]}"; do
  wait_for 10 shows "$name" healthy 6 || fail "no table" "$dir/table"
  begin=${EPOCHREALTIME/[.,]/}
  control "/node?server=$name&name=node-1&ready=false"
  wait_for 10 shows "$name" degraded 5 || fail "a node of $name turned NotReady: the table never showed it" "$dir/table"
  took=$(((${EPOCHREALTIME/[.,]/} - begin) / 1000))
  echo "node-1 of $name turned NotReady: in the table after $took ms"
  [ $took -le 3000 ] || fail "that is more than 3 s" "$dir/hub.log"
  control "/node?server=$name&name=node-1&ready=true"
  wait_for 10 shows "$name" healthy 6 || fail "a node of $name turned Ready: the table never showed it" "$dir/table"
done
if [ $SECONDS -lt "$seconds" ]; then
  sleep $((seconds - SECONDS)) &
  pids+=($!)
  wait $!
fi
healthy=0; all_healthy || healthy=1
echo
cat "$dir/fleet"
exit $healthy
