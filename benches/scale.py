#!/usr/bin/env python3
"""10,000 Ingresses from files: time from start to ready, time from an endpoint change to the first request that
follows it (median and worst of 50), resident memory.

    benches/scale.py target/release/headgate [INGRESSES]

Loopback only. Backends are two tiny HTTP servers of this script; everything is stopped at the end. What would make the
figures a lie: a busy machine (they are wall time), a debug build, a manifests folder on a slow disk.
"""

import http.client
import json
import os
import shutil
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time


class Pod(socketserver.BaseRequestHandler):
    """Answers every request with the server's name."""

    def handle(self):
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = self.request.recv(65536)
                if not data:
                    return
                buffer += data
            _, _, buffer = buffer.partition(b"\r\n\r\n")
            name = self.server.name.encode()
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def pod(name):
    server = Server(("127.0.0.1", 0), Pod)
    server.name = name
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def slice_of(port, name):
    return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "app", "labels": {"kubernetes.io/service-name": "app"}},
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True},
                           "targetRef": {"kind": "Pod", "namespace": "default", "name": name}}]}


def write(folder, name, documents):
    path = os.path.join(folder, name)
    with open(path + ".new", "w") as f:
        f.writelines("---\n" + json.dumps(d) + "\n" for d in documents)
    os.rename(path + ".new", path)


def main():
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    folder = tempfile.mkdtemp(prefix="headgate-scale-")
    ports = {"one": pod("one"), "two": pod("two")}
    write(folder, "service.yaml", [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"},
                                    "spec": {"ports": [{"name": "http", "port": 80}]}}])
    write(folder, "endpoints.yaml", [slice_of(ports["one"], "one")])
    backend = {"service": {"name": "app", "port": {"number": 80}}}
    for start in range(0, count, 500):
        write(folder, f"routes-{start:06}.yaml", [
            {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": f"h{n}"},
             "spec": {"rules": [{"host": f"h{n}.test", "http": {"paths": [
                 {"path": "/", "pathType": "Prefix", "backend": backend}]}}]}}
            for n in range(start, min(start + 500, count))])
    begun = time.monotonic()
    process = subprocess.Popen([binary, "run", "--manifests", folder, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0",
                                "--admin", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()
        ready = time.monotonic() - begun
        web = dict(word.split("=", 1) for word in line.split()[2:])["web"].removeprefix("http://")
        client = http.client.HTTPConnection(web)

        def ask():
            client.request("GET", "/", headers={"Host": f"h{count - 1}.test"})
            answer = client.getresponse()
            return answer.status, answer.read().decode()

        assert ask() == (200, "one"), ask()
        waits = []
        for turn in range(50):
            name = ("two", "one")[turn % 2]
            changed = time.monotonic()
            write(folder, "endpoints.yaml", [slice_of(ports[name], name)])
            while True:
                status, body = ask()
                assert status == 200, status
                if body == name:
                    break
                assert time.monotonic() - changed < 5, "the change was never followed"
            waits.append((time.monotonic() - changed) * 1000)
        with open(f"/proc/{process.pid}/status") as f:
            memory = {l.split(":")[0]: l.split(":")[1].strip() for l in f}
        print(f"{count} Ingresses: ready in {ready:.2f} s; endpoint change followed in {statistics.median(waits):.1f} ms "
              f"(median of 50), {max(waits):.1f} ms (worst); resident {memory['VmRSS']}, at most {memory['VmHWM']}")
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


main()
