#!/usr/bin/env bash
# soak.sh BUILD_DIR ROUNDS: long runs, bounded by ROUNDS: the watch cache under injected faults (a million events a round), a
# store that is away for 5 minutes, ROUNDS kills (-9) of hubs, collectors, Redis and VictoriaMetrics with proof of delivery, then the unit and contract tests repeated, which is how flaky ones are found.
set -euo pipefail
build=$1 rounds=$2
for round in $(seq "$rounds"); do
  "$build/bin/watch_soak" --events 1000000 --seed "$round"
done
CLUSTERPULSE_STORE_OUTAGE_SECONDS=300 "$build/bin/push_faults_e2e" "the store is away*"
"$build/bin/delivery_soak" --rounds "$rounds" --seed "${SOAK_SEED:-$(date +%s)}"
ctest --test-dir "$build" --output-on-failure -j "$(nproc)" -L 'unit|contract' --repeat "until-fail:$((2 * rounds))"
