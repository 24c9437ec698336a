#!/usr/bin/env bash
# Instructions and system calls per request, for plain HTTP/1.1 over kept connections:
#
#     benches/request_cost.sh target/release/headgate
#
# Needs valgrind, strace, nginx (the backend) and h2load. Loopback only; what it starts it ends. Instructions are counted
# under callgrind for 10,000 requests after 2,000 others, so that the start (which gathers randomness for as long as that
# takes) doesn't count. They repeat to a fraction of a percent; what would make them a lie is a build without optimisation. middleware_cost.sh sets ANNOTATION,
# MIDDLEWARES (objects), TARGET and ONLY_INSTRUCTIONS.
set -euo pipefail
binary=$(readlink -f "$1")
folder=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir "$folder/manifests"

cat > "$folder/nginx.conf" <<NGINX
daemon off; pid $folder/nginx.pid; error_log stderr error; worker_processes 1;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 900s;
  client_body_temp_path $folder/1; proxy_temp_path $folder/2; fastcgi_temp_path $folder/3; uwsgi_temp_path $folder/4; scgi_temp_path $folder/5;
  server { listen 127.0.0.11:18800; location / { return 200 "$(printf 'x%.0s' $(seq 127))\n"; } } }
NGINX
cat > "$folder/manifests/app.yaml" <<YAML
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: app, annotations: {traefik.ingress.kubernetes.io/router.middlewares: "${ANNOTATION:-}"}}
spec: {rules: [{host: app.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{name: http, port: 18800}]
endpoints: [{addresses: [127.0.0.11], conditions: {ready: true}}]
YAML

printf '%s' "${MIDDLEWARES:-}" > "$folder/manifests/middlewares.yaml"

nginx -p "$folder" -c "$folder/nginx.conf" -e stderr & pids+=($!)
args=(run --manifests "$folder/manifests" --http 127.0.0.1:18080 --https 127.0.0.1:0 --admin 127.0.0.1:0 --workers 1)

load() { h2load --h1 -n "$1" -c 8 --connect-to 127.0.0.1:18080 "http://app.test:18080${TARGET:-/}" | grep -q "$1 succeeded"; }
answers() { for _ in $(seq 300); do curl -so /dev/null http://127.0.0.1:18080/ && return; sleep 0.1; done; return 1; }

valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$folder/callgrind" "$binary" "${args[@]}" \
  > "$folder/log" 2>&1 &
pid=$!; pids+=("$pid")
answers; load 2000
callgrind_control -i on "$pid" > /dev/null
load 10000
kill "$pid"; wait "$pid" || true
echo "instructions per request: $(($(grep -o 'Collected : [0-9]*' "$folder/log" | grep -o '[0-9]*$') / 10000))"
[ -z "${ONLY_INSTRUCTIONS:-}" ] || exit 0

"$binary" "${args[@]}" > /dev/null 2>&1 & pid=$!; pids+=("$pid")
answers; load 2000
strace -c -f -p "$pid" -o "$folder/strace" & tracer=$!
sleep 1
load 20000
kill -INT "$tracer"; wait "$tracer" || true
echo "system calls of 20,000 requests:"
head -8 "$folder/strace"
