"""What the tests stand on: a real sidecar, over memory and over a Redis of its own.

`SIDELOCK_BIN` names the binary. Everything lives in a folder of the test run and ends with it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import sidelock

BINARY = os.environ.get("SIDELOCK_BIN", "sidelock")


@dataclass
class Place:
    """A running sidecar."""

    socket: str
    process: subprocess.Popen[bytes]

    def client(self, **options: object) -> sidelock.Client:
        return sidelock.Client(self.socket, **options)  # type: ignore[arg-type]

    def aio(self) -> sidelock.aio.Client:
        return sidelock.aio.Client(self.socket)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def serve(folder: Path, *options: str) -> Place:
    """A sidecar that takes requests."""
    socket = str(folder / "sidelock.sock")
    command = [BINARY, "serve", "--socket", socket, "--admin-socket", str(folder / "admin.sock"), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([BINARY, "wait", "--timeout", "20s", "--store", "--socket", socket], check=True)
    return Place(socket, process)


def program(place, text, **options):
    """Another process that runs `text` with a client `sl`, and says a line when it gets to `say()`."""
    head = f"import os, signal, sys, threading, time, sidelock\nsl = sidelock.Client({place.socket!r})\n"
    # One write a line, so that several processes can say something at a time.
    head += "def say(word): os.write(1, f'{word}\\n'.encode())\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + text], stdout=subprocess.PIPE, text=True, bufsize=1, **options
    )


def waits(place, key, count=1):
    """Until so many wait for the key."""
    for _ in range(1000):
        command = [BINARY, "why", key, "--socket", place.socket, "-o", "json"]
        shown = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        if len(shown["queue"]) >= count:
            return
    raise AssertionError(f"too few wait for {key}: {shown}")


@pytest.fixture(scope="session", params=["memory", "redis"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A sidecar that all tests share; they use keys of their own."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "memory":
        place = serve(folder)
        yield place
        place.stop()
        return
    with redis(folder) as store:
        place = serve(folder, "--redis", store.url)
        yield place
        place.stop()


@dataclass
class Redis:
    """A running Redis."""

    socket: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def ask(self, *words: str) -> str:
        command = ["redis-cli", "-s", self.socket, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    socket = folder / "redis.sock"
    with (folder / "redis.log").open("wb") as log:
        command = ["redis-server", "--port", "0", "--save", "", "--unixsocket", str(socket)]
        process = subprocess.Popen(command, stdout=log, cwd=folder)
    try:
        yield Redis(str(socket), process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key that no other test uses."""
    return f"test/{request.node.name}"


@pytest.fixture
def sl(place: Place) -> sidelock.Client:
    return place.client()


@pytest.fixture
def other(place: Place) -> sidelock.Client:
    """Somebody else, with a connection of its own."""
    return place.client(app="other")
