#!/usr/bin/env bash
# fuzz.sh SECONDS: builds every fuzz target with clang's libFuzzer and sanitizers and runs each for that long, from its corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
cmake --preset fuzz > /dev/null
cmake --build --preset fuzz --target fuzz_targets
for target in build-fuzz/bin/*_fuzz; do
  name=$(basename "$target" _fuzz)
  found=build-fuzz/corpus/$name; mkdir -p "$found"
  echo "fuzzing $name for $seconds s"
  "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 \
    -artifact_prefix="build-fuzz/$name-" "$found" "tests/fuzz/corpus/$name"
done
echo "no target crashed"
