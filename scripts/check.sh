#!/usr/bin/env bash
# check.sh format|clang|tidy|asan|tsan|all: the checks beside the tests; each exits non-zero on a finding, tidy once it has
# shown all of them. In all, the next check runs only when the one before found nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
sources() { git ls-files '*.h' '*.cc'; }

format() { sources | xargs clang-format-14 --dry-run -Werror; }
# Thread-safety annotations are an error under clang (cmake/ClusterPulseOptions.cmake).
clang() { cmake --preset clang > /dev/null && cmake --build --preset clang; }
# Of a build it needs what is generated. A file without findings prints nothing: the count of what other people's headers
# would give goes with the rest of the output.
tidy() {
  cmake --preset clang > /dev/null && cmake --build --preset clang --target cp_proto
  git ls-files 'common/*.cc' 'hub/*.cc' 'collector/*.cc' | xargs -P "$(nproc)" -n 1 bash -c '
    out=$(clang-tidy-14 -p build-clang --quiet --warnings-as-errors="*" "$1" 2>&1) || { printf "%s\n" "$out"; exit 1; }' tidy
}
# Unit, integration, contract and corpus tests; the end-to-end tests run the release binaries.
sanitized() {
  cmake --preset "$1" > /dev/null && cmake --build --preset "$1" --target checked_tests
  KUBEBUILDER_ASSETS=$(tests/support/kube-assets.sh)
  export KUBEBUILDER_ASSETS
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
