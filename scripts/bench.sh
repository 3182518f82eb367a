#!/usr/bin/env bash
# bench.sh BUILD_DIR: every benchmark with its peer beside it; the lines with "must" are what docs/benchmarks.md records.
set -euo pipefail
bin=$1/bin
uname -srm; grep -m1 'model name' /proc/cpuinfo || true
for program in survey_bench survey_memory_bench store_bench pull_bench collector_memory_bench collector_sources_memory_bench ingest_bench push_bench streams_bench \
  latency_bench config_bench wire_bench history_bench metricsource_rows_bench metricsource_expression_bench \
  drain_bench; do
  [ -x "$bin/$program" ] || { echo "bench.sh: $program is not built" >&2; exit 1; }
  echo "--- $program"
  "$bin/$program"
done
