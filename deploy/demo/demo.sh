#!/usr/bin/env bash
# demo.sh BIN_DIR: a simulated fleet and the hub on this machine. Ctrl-C ends it. With DEMO_SECONDS=N it ends by itself and
# exits 0 only when every cluster is healthy.
set -euo pipefail
bin=$(cd "$1" && pwd)
seconds=${DEMO_SECONDS:-0}
namespace=default
dir=$(mktemp -d "${TMPDIR:-/tmp}/clusterpulse-demo.XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
  rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM
fail() { echo "demo: $1" >&2; [ ! -f "$2" ] || tail -20 "$2" >&2; exit 1; }
# Only for commands that end: the pid of a background function is its subshell, not the program.
hub() { "$bin/clusterpulse-hub" "$@"; }
# wait_for LIMIT_SECONDS command...
wait_for() {
  local until=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -lt $until ] || return 1; sleep 0.2; done
}

echo "1/4 starting four simulated API servers (kubesim): the hub cluster and three managed ones, the last OpenShift-like"
"$bin/kubesim" --hub 1 --clusters 3 --openshift 1 --operators 4 --nodes 6 --pods-per-node 25 --churn 5 --seed 7 \
  --dir "$dir" --control 127.0.0.1:0 > "$dir/kubesim.log" 2>&1 &
pids+=($!)
wait_for 30 grep -q '^ready' "$dir/kubesim.log" || fail "kubesim did not start" "$dir/kubesim.log"
control=$(awk '$1 == "control" {print $2}' "$dir/kubesim.log")
export KUBECONFIG=$dir/hub.kubeconfig

echo "2/4 installing the custom resource definitions: clusterpulse-hub crds apply"
hub crds apply

echo "3/4 connecting the three clusters: clusterpulse-hub connect NAME --from KUBECONFIG"
for name in cluster-1 cluster-2 cluster-3; do
  hub connect "$name" --from "$dir/$name.kubeconfig" --namespace $namespace
done

echo "4/4 starting the hub on its embedded store"
"$bin/clusterpulse-hub" --namespace $namespace --metrics-bind-address 127.0.0.1:0 --health-probe-bind-address 127.0.0.1:0 \
  --log-format text > "$dir/hub.log" 2>&1 &
pids+=($!)
# Every row says Connected and healthy.
all_healthy() {
  hub fleet --namespace $namespace > "$dir/fleet" 2> /dev/null &&
    awk 'NR > 1 { n++; if ($3 != "Connected" || $4 != "healthy") bad = 1 } END { exit !(n == 3 && !bad) }' "$dir/fleet"
}
wait_for 60 all_healthy || { cat "$dir/fleet"; fail "not every cluster became healthy within 60 s" "$dir/hub.log"; }

cat << TEXT

The fleet is up. In another terminal:
  export KUBECONFIG=$KUBECONFIG
  kubectl get clusterconnections -n $namespace            # or: $bin/clusterpulse-hub fleet
  kubectl describe clusterconnection cluster-3 -n $namespace
  curl -X POST '$control/node?server=cluster-2&name=node-1&ready=false'   # break something; curl $control lists what else
Log of the hub: $dir/hub.log

TEXT
if [ "$seconds" -gt 0 ]; then
  [ $SECONDS -ge "$seconds" ] || sleep $((seconds - SECONDS))
  healthy=0; all_healthy || healthy=1
  cat "$dir/fleet"
  exit $healthy
fi
hub fleet --namespace $namespace --watch
