#!/bin/bash
# kube-build.sh DIR [command...]: builds Kubernetes programs from Debian's own source package into DIR/bin (needs golang-go dpkg-dev)
set -euo pipefail; W=$(realpath -m "$1"); shift; CMDS=${*:-kube-apiserver kubectl}
if [ -d /usr/lib/go-1.19/bin ]; then PATH=/usr/lib/go-1.19/bin:$PATH; fi   # a newer Go in PATH is not what this was tried with
mkdir -p "$W"/apt/parts "$W"/apt/lists/partial "$W"/apt/cache/archives/partial "$W"/go/src/k8s.io "$W"/bin
# 1. a private source list derived from the system's own; the system's configuration stays as it is
for f in /etc/apt/sources.list.d/*.sources; do [ -f "$f" ] && sed 's/^Types:.*/Types: deb-src/' "$f" > "$W"/apt/parts/"$(basename "$f")"; done
if [ -f /etc/apt/sources.list ]; then sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > "$W"/apt/parts/l.list; fi
O=(-q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$W"/apt/parts -o Dir::State::lists="$W"/apt/lists
   -o Dir::Cache="$W"/apt/cache -o APT::Sandbox::User=root)
apt-get "${O[@]}" update
cd "$W"; rm -rf go/src/k8s.io/kubernetes r2
apt-get "${O[@]}" source --download-only kubernetes; dpkg-source --no-check -x kubernetes_*.dsc go/src/k8s.io/kubernetes
# 2. vendored reflect2 1.0.1 panics when built with Go >= 1.18: take Debian's 1.0.2
apt-get -q download golang-github-modern-go-reflect2-dev; dpkg-deb -x golang-github-modern-go-reflect2-dev_*.deb r2
S="$W"/go/src/k8s.io/kubernetes; rm -rf "$S"/vendor/github.com/modern-go/reflect2
cp -a "$W"/r2/usr/share/gocode/src/github.com/modern-go/reflect2 "$S"/vendor/github.com/modern-go/
# 3. GOPATH mode, offline
export GOPATH="$W"/go GO111MODULE=off GOFLAGS= GOPROXY=off CGO_ENABLED=0 GOCACHE=${GOCACHE:-$W/gocache}
cd "$S"; go build -o "$W"/bin/openapi-gen ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
P=$(grep -rl --include='*.go' '+k8s:openapi-gen=' pkg staging/src/k8s.io | grep -v -E '_test.go|zz_generated|/_examples/|sample-apiserver|code-generator|/testdata/' | xargs -n1 dirname | sed 's#^staging/src/#vendor/#' | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)
"$W"/bin/openapi-gen -i "$P" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$W"/violations.txt
V="-s -w"; for p in component-base/version client-go/pkg/version; do q=k8s.io/kubernetes/vendor/k8s.io/$p; V="$V -X $q.gitVersion=v1.20.2 -X $q.gitMajor=1 -X $q.gitMinor=20 -X $q.buildDate=2021-01-13T00:00:00Z"; done
for c in $CMDS; do go build -p "${GOJOBS:-2}" -trimpath -ldflags "$V" -o "$W"/bin/"$c" ./cmd/"$c"; done
ls -l "$W"/bin
