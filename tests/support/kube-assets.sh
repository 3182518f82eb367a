#!/usr/bin/env bash
# kube-assets.sh: prints a directory with etcd, kube-apiserver and kubectl, building it once when it is not there.
# KUBEBUILDER_ASSETS wins. Otherwise the programs are built from Debian's source package by kube-build.sh (3 to 4 minutes on
# two cores) and kept under ${XDG_CACHE_HOME:-~/.cache}/clusterpulse, by the content of that script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
complete() { [ -x "$1/etcd" ] && [ -x "$1/kube-apiserver" ] && [ -x "$1/kubectl" ]; }
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  complete "$KUBEBUILDER_ASSETS" || { echo "kube-assets.sh: KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks etcd, kube-apiserver or kubectl" >&2; exit 1; }
  echo "$KUBEBUILDER_ASSETS"; exit 0
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/clusterpulse
key=kube-$(dpkg --print-architecture)-$(sha256sum "$here/kube-build.sh" | cut -c1-16)
if ! complete "$cache/$key"; then
  echo "building kube-apiserver and kubectl once (about 4 minutes); kept in $cache/$key" >&2
  mkdir -p "$cache"
  exec 9> "$cache/$key.lock"; flock 9   # two builds at once would double the time and the memory
  if ! complete "$cache/$key"; then
    work=$(mktemp -d "$cache/build.XXXXXX"); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    if ! bash "$here/kube-build.sh" "$work" > "$cache/$key.log" 2>&1; then
      tail -20 "$cache/$key.log" >&2; echo "kube-assets.sh: the build failed; whole log: $cache/$key.log" >&2; exit 1
    fi
    mkdir -p "$cache/$key.new"
    cp "$work/bin/kube-apiserver" "$work/bin/kubectl" "$cache/$key.new/"
    ln -s "$(command -v etcd)" "$cache/$key.new/etcd"
    rm -rf "${cache:?}/$key"; mv "$cache/$key.new" "$cache/$key"
  fi
fi
echo "$cache/$key"
