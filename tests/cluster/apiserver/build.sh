#!/usr/bin/env bash
# Builds the control plane of the cluster tests, unless it is built already.
#
#   build.sh [DIR]
#
# DIR (by default headgate-kubetest in the user's cache) then holds
# HASH/kubetest and the link HASH/kubectl, where HASH stands for the sources.
# Prints the path of HASH on its standard output, and all else on stderr.
# Exits 3 if there is no Go toolchain that is new enough.
set -euo pipefail
# Go reads its caches from absolute paths only.
out=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/headgate-kubetest}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'kubetest: %s\n' "$*" >&2; }

version=$(sed -nE 's/^\s*k8s\.io\/kubernetes (v[0-9]+\.[0-9]+\.[0-9]+)$/\1/p' go.mod)
minor=${version#v*.}
minor=${minor%%.*}
# kubectl and clients that ask the API server's version want a true one.
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    ldflags+=" -X $package.gitVersion=$version"
    ldflags+=" -X $package.gitMajor=1 -X $package.gitMinor=$minor"
done

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
LC_ALL=C
sources=(go.mod go.sum *.go)
hash=$({ echo "$ldflags"; uname -sm; cat "${sources[@]}"; } | sha256 | cut -c1-16)
target=$out/$hash
if [[ -x $target/kubetest ]]; then
    echo "$target"
    exit 0
fi

wanted=$(sed -nE 's/^go ([0-9.]+)$/\1/p' go.mod)
if ! command -v go >/dev/null; then
    say "no Go toolchain: building Kubernetes $version needs Go $wanted or newer"
    exit 3
fi
# Where GOTOOLCHAIN lets it, an older Go fetches the one that go.mod asks for.
if ! found=$(GOWORK=off go env GOVERSION 2>&1); then
    say "Go is too old: building Kubernetes $version needs Go $wanted or newer; go says: $found"
    exit 3
fi
if [[ $(printf '%s\n' "$wanted" "${found#go}" | sort -V | head -1) != "$wanted" ]]; then
    say "Go is too old: building Kubernetes $version needs Go $wanted or newer, and this is $found"
    exit 3
fi

# One build at a time: a second one waits, and then finds the first one's.
if command -v flock >/dev/null; then
    exec 9>"$out/.lock"
    if ! flock -n 9; then
        say "another build is running, waiting for it"
        flock 9
    fi
    if [[ -x $target/kubetest ]]; then
        echo "$target"
        exit 0
    fi
fi

work=$(mktemp -d "$out/.build.XXXXXX")
child=
cleanup() {
    [[ -z $child ]] || kill "$child" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

export CGO_ENABLED=0 GOWORK=off
# shared by what lists the packages and what builds them
flags=(-mod=readonly -trimpath -buildvcs=false)

# Runs a step in the background and says every half minute how far it is.
step() {
    local what=$1 since=$SECONDS next=$((SECONDS + 30))
    shift
    say "$what"
    "$@" >"$work/out" 2>"$work/log" 9>&- &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        sleep 1
        if ((SECONDS >= next)); then
            next=$((SECONDS + 30))
            say "  $((SECONDS - since)) s: $(wc -l <"$work/log" | tr -d ' ') ${total:+of at most $total }done, the last one $(tail -n 1 "$work/log")"
        fi
    done
    if ! wait "$child"; then
        child=
        say "failed:"
        tail -n 40 "$work/log" >&2
        exit 1
    fi
    child=
}

say "building Kubernetes $version with $found: some 10 minutes on two cores the first time, and 5 GB in Go's caches"
total=
step "fetching modules" go list "${flags[@]}" -deps .
total=$(wc -l <"$work/out" | tr -d ' ')
step "compiling $total packages" go build "${flags[@]}" -v -ldflags "$ldflags" -o "$work/done/kubetest" .
ln -s kubetest "$work/done/kubectl"
mkdir -p "$target"
mv -f "$work/done/kubectl" "$work/done/kubetest" "$target/"
say "built in $SECONDS s: $target/kubetest"
echo "$target"
