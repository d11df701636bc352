"""A web handler that sells what is in stock: one order at a time over all instances, and an answer within two seconds.

Start a sidecar first: `sidelock serve`.
"""

import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import sidelock

sl = sidelock.Client()
stock = 5  # Stands for the database, which knows nothing of concurrency.


def buy() -> bool:
    global stock
    found = stock
    time.sleep(0.005)
    stock = max(0, found - 1)
    return found > 0


class Shop(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        try:
            with sl.lock("stock/lamp", wait=2):
                self.send_response(200 if buy() else 410)
        except sidelock.WaitTimeout as busy:
            self.send_response(503)
            self.send_header("Retry-After", str(round(busy.retry_after or 1)))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def order(url: str) -> int:
    try:
        return int(urllib.request.urlopen(url, data=b"").status)
    except urllib.error.HTTPError as refused:
        return refused.code


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server, ThreadPoolExecutor(8) as buyers:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/buy"
        answers = list(buyers.map(order, [url] * 20))
        server.shutdown()
    assert (answers.count(200), answers.count(410)) == (5, 15), f"sold more or less than there was: {answers}"
    print("sold 5 lamps to 20 who asked")
