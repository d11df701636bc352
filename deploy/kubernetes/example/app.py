"""Orders, changed by one replica at a time: POST /orders/42 counts a change of order 42. Standard library only.

The lock lives in the sidecar beside us, over HTTP on its socket. What is written carries the lease's fence, and what
stands under a higher one is not overwritten: that holds even if this process slept through the end of its lease.
"""

import http.client
import json
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

# Stands for a database that is shared: order -> (fence of the last writer, changes).
orders: dict[str, tuple[int, int]] = {}


class Sidecar(http.client.HTTPConnection):
    """One connection to the sidecar."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ.get("SIDELOCK_SOCKET", "/run/sidelock/s/sidelock.sock"))

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        self.request(method, path, json.dumps(body) if body else None)
        answer = self.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}


class Orders(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer(200 if self.path == "/healthz" else 404, {})

    def do_POST(self) -> None:
        order, sidecar = self.path.removeprefix("/orders/"), Sidecar("sidecar")
        try:
            status, lease = sidecar.ask(
                "POST", f"/v1/locks/orders/{quote(order, safe='')}", {"wait": "5s", "ttl": "30s"}
            )
        except OSError as error:
            return self.answer(503, {"code": "sidecar_unreachable", "detail": str(error)})
        if status != 200:  # held for longer than we wait, or the store is away: the problem document says which
            return self.answer(status, lease)
        try:
            last_fence, changes = orders.get(order, (0, 0))
            if lease["fence"] < last_fence:
                return self.answer(409, {"code": "stale_fence"})
            orders[order] = (lease["fence"], changes + 1)
            self.answer(200, {"order": order, "changes": changes + 1, "fence": lease["fence"]})
        finally:
            sidecar.ask("DELETE", f"/v1/leases/{lease['lease']}")

    def answer(self, status: int, body: dict) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Orders)
    server.daemon_threads = False  # requests under way end well, and give back what they hold
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"serving on port {server.server_port}", flush=True)
    server.serve_forever()
    server.server_close()
