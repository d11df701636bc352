"""What the tests of `deploy/` stand on: the files as they stand there, the tools that read them, and real sidecars.

`SIDELOCK_BIN` names the binary. A tool that could not be had is a test that is skipped, and says so.
"""

import fcntl
import os
import shutil
import signal
import socket as sockets
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BINARY = Path(os.environ["SIDELOCK_BIN"])
# Whether we run in namespaces of our own, which `tests/support/deploy.sh` makes.
ALONE = "DEPLOY_RIG" in os.environ
# How long something may take that must come, before the test has failed.
PATIENCE = 30


if ALONE:
    # A new network has a loopback device that is down (netdevice(7): SIOCSIFFLAGS, IFF_UP).
    with sockets.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1))


def documents(text: str) -> list[dict]:
    """What a file of manifests says."""
    return [document for document in yaml.safe_load_all(text) if document]


def tool(name: str) -> str:
    """Where a tool is; without it the test is skipped."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not here")
    return path


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """What a command prints, if it succeeds."""
    words = [str(word) for word in command]
    ended = subprocess.run(words, cwd=cwd, env=os.environ | environment, text=True, capture_output=True)
    assert ended.returncode == 0, f"{words} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
    return ended.stdout


class Program:
    """A running program, which does not outlive its test."""

    def __init__(self, *command: object, **options: object) -> None:
        words = [str(word) for word in command]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)

    def line(self, part: str) -> str:
        """Waits for a line with this part. What a program writes is read, so it never waits for us for long."""
        assert self.process.stdout
        said = ""
        for line in self.process.stdout:
            said += line
            if part in line:
                return line
        raise AssertionError(f"{self.process.args} ended without saying {part!r}:\n{said}")

    def ends(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after this signal."""
        self.process.send_signal(by)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """Where a sidecar on the memory store serves."""
    path = tmp_path / "s" / "sidelock.sock"
    with Program(BINARY, "serve", "--store", "memory", "--socket", path) as sidecar:
        sidecar.line("sidelock serves at")
        yield path
