#!/usr/bin/env bash
# Instructions per request for a route with 0, 1, 3 and 8 middlewares:
#
#     benches/middleware_cost.sh target/release/headgate
#
# Needs what request_cost.sh needs, which does the measuring. The middlewares are those that an application commonly has
# before it, each with something to do; the eighth is one that stands around the rest.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
binary=$(readlink -f "$1")

names=(allow rate strip headers add inflight redirect compress)
export MIDDLEWARES='
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: allow}
spec: {ipAllowList: {sourceRange: [127.0.0.0/8, 10.0.0.0/8]}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: rate}
spec: {rateLimit: {average: 100000000, burst: 100000000}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: strip}
spec: {stripPrefix: {prefixes: [/api]}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: headers}
spec: {headers: {customRequestHeaders: {X-A: b}, customResponseHeaders: {X-C: d}, frameDeny: true, contentTypeNosniff: true}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: add}
spec: {addPrefix: {prefix: /app}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: inflight}
spec: {inFlightReq: {amount: 1000}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: redirect}
spec: {redirectRegex: {regex: "^https?://old[.]test/(.*)", replacement: "https://new.test/$1"}}
---
kind: Middleware
apiVersion: traefik.io/v1alpha1
metadata: {name: compress}
spec: {compress: {}}
'
for count in 0 1 3 8; do
  ANNOTATION=$(for name in "${names[@]:0:count}"; do printf 'default-%s@kubernetescrd,' "$name"; done)
  export ANNOTATION=${ANNOTATION%,}
  printf '%s middlewares: ' "$count"
  ONLY_INSTRUCTIONS=1 TARGET=/api/x "$here/request_cost.sh" "$binary"
done
