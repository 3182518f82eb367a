#!/usr/bin/env bash
# install-deps.sh build|test|check: installs the Debian packages a step needs, and only those that are missing.
set -euo pipefail
build=(g++ cmake ninja-build ccache mold pkg-config
  libabsl-dev libfmt-dev rapidjson-dev libsimdjson-dev libyaml-cpp-dev libcli11-dev prometheus-cpp-dev
  libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev protobuf-compiler
  libcpp-httplib-dev libcurl4-openssl-dev libssl-dev zlib1g-dev libsqlite3-dev libhiredis-dev libjemalloc-dev
  libdeflate-dev libutf8proc-dev libre2-dev catch2 libbenchmark-dev ca-certificates)
testing=(redis-server redis-tools victoria-metrics etcd-server etcd-client golang-go dpkg-dev curl openssl procps faketime iproute2 nftables)
check=(clang-14 clang-tidy-14 clang-format-14 clang-16 libclang-rt-16-dev)
case "${1:-}" in
  build) want=("${build[@]}") ;;
  test) want=("${build[@]}" "${testing[@]}") ;;
  check) want=("${build[@]}" "${testing[@]}" "${check[@]}") ;;
  *) echo "usage: install-deps.sh build|test|check" >&2; exit 2 ;;
esac
missing=()
for package in "${want[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || { echo "install-deps.sh: not root and no sudo; install by hand: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "installing: ${missing[*]}"
# Some of these packages start a service when installed; tests start their own. An existing policy is left alone.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy > /dev/null
  "${sudo[@]}" chmod +x $policy
  trap '"${sudo[@]}" rm -f $policy' EXIT
fi
"${sudo[@]}" apt-get update -q
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
