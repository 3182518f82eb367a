#!/usr/bin/env bash
# check.sh format|clang|tidy|asan|tsan|all: the checks beside the tests; each exits non-zero on the first finding.
set -euo pipefail
cd "$(dirname "$0")/.."
sources() { git ls-files '*.h' '*.cc'; }

format() { sources | xargs clang-format-14 --dry-run -Werror; }
# Thread-safety annotations are an error under clang (cmake/ClusterPulseOptions.cmake).
clang() { cmake --preset clang > /dev/null && cmake --build --preset clang; }
tidy() {
  cmake --preset clang > /dev/null
  git ls-files 'common/*.cc' 'hub/*.cc' 'collector/*.cc' | xargs -P "$(nproc)" -n 4 clang-tidy-14 -p build-clang --quiet --warnings-as-errors='*'
}
# Unit, contract and corpus tests; the end-to-end tests run the release binaries.
sanitized() {
  cmake --preset "$1" > /dev/null && cmake --build --preset "$1"
  LSAN_OPTIONS=suppressions=$PWD/tests/support/sanitizers/lsan.supp \
  TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1:suppressions=$PWD/tests/support/sanitizers/tsan.supp \
    ctest --test-dir "build-$1" --output-on-failure -j "$(nproc)" -LE 'e2e|bench'
}
asan() { sanitized asan; }
tsan() { sanitized tsan; }

run() { echo "--- $1"; "$1"; }
case "${1:-all}" in
  all) for step in format clang tidy asan tsan; do run $step; done ;;
  format | clang | tidy | asan | tsan) run "$1" ;;
  *) echo "usage: check.sh format|clang|tidy|asan|tsan|all" >&2; exit 2 ;;
esac
