"""The example app beside a real sidecar: no change is lost, trouble is an answer, its end gives back what it held."""

import http.client
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from conftest import BINARY, DEPLOY, Program, run

APP = DEPLOY / "kubernetes/example/app.py"


@contextmanager
def app(socket: Path) -> Iterator[tuple[Program, int]]:
    """The app, and its port."""
    with Program(sys.executable, APP, env={"SIDELOCK_SOCKET": str(socket), "PORT": "0"}) as program:
        yield program, int(program.line("serving on port").split()[-1])


def post(port: int, order: str = "42") -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", f"/orders/{order}")
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def keys(socket: Path) -> list[dict]:
    """What the sidecar lists."""
    return json.loads(run(BINARY, "ls", "-o", "json", "--socket", socket))["keys"]


def test_no_change_is_lost_and_fences_rise_with_the_changes(socket: Path) -> None:
    with app(socket) as (_, port), ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: post(port), range(40)))
    assert {status for status, _ in answers} == {200}
    written = sorted(((body["changes"], body["fence"]) for _, body in answers))
    assert [changes for changes, _ in written] == list(range(1, 41))
    fences = [fence for _, fence in written]
    assert fences == sorted(set(fences))


def test_trouble_is_an_answer(tmp_path: Path) -> None:
    socket = tmp_path / "s" / "sidelock.sock"
    with app(socket) as (_, port):
        status, body = post(port)
        assert (status, body["code"]) == (503, "sidecar_unreachable")
        # A Redis that is not there.
        with Program(BINARY, "serve", "--redis", f"unix://{tmp_path}/redis.sock", "--socket", socket) as sidecar:
            sidecar.line("sidelock serves at")
            status, body = post(port)
            assert (status, body["code"]) == (503, "store_unavailable")


def test_its_end_waits_for_what_is_under_way_and_gives_it_back(socket: Path) -> None:
    lease = re.search(r"SIDELOCK_LEASE=(\S+)", run(BINARY, "lock", "orders/42", "--socket", socket))
    assert lease
    with app(socket) as (program, port), ThreadPoolExecutor(1) as client:
        waiting = client.submit(post, port)
        # It stands in line once the sidecar counts it.
        while not keys(socket)[0]["queue"]:
            assert not waiting.done()
        program.process.terminate()
        run(BINARY, "unlock", lease[1], "--socket", socket)
        assert waiting.result()[0] == 200
        assert program.process.wait() == 0
    assert not any(key["holders"] for key in keys(socket))
