"""What a kubelet does to start a container, as far as the tests need it: an image becomes a read-only root with mounts,
and a process in it without rights.

Owns mounts, users and a name server. It works in namespaces of its own, which `tests/support/deploy.sh` makes:
nothing that is mounted here is seen outside, or outlives the tests.
"""

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from conftest import Program, run

# Where a pod of the name space `shop` looks names up (Kubernetes, "DNS for Services and Pods").
RESOLV_CONF = "nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
REDIS_NAME = "redis.shop.svc.cluster.local"
PR_SET_NO_NEW_PRIVS = 38


class NameServer(threading.Thread):
    """Knows one name, as 127.0.0.1, and remembers what it was asked for (RFC 1035)."""

    running: dict[str, "NameServer"] = {}

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.name = name
        self.asked: list[str] = []
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))

    @classmethod
    def for_name(cls, name: str) -> "NameServer":
        """The one of all tests, since there is one such port; it was asked nothing yet."""
        if name not in cls.running:
            cls.running[name] = cls(name)
            cls.running[name].start()
        cls.running[name].asked.clear()
        return cls.running[name]

    def run(self) -> None:
        while True:
            query, client = self.socket.recvfrom(512)
            self.socket.sendto(self.answer(query), client)

    def answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (kind,) = struct.unpack_from(">H", query, at + 1)
        question, name = query[12 : at + 5], ".".join(labels)
        self.asked.append(name)
        known = name == self.name
        record = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 5, 4, bytes([127, 0, 0, 1])) if known and kind == 1 else b""
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, bool(record), 0, 0)
        return head + question + record


class Pod:
    """The read-only root of a container, and the folder that all containers of the pod share, whatever their user."""

    def __init__(self, image: Path, secret: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sl-pod-"))
        self.folder.chmod(0o755)
        self.root, self.shared = self.folder / "root", self.folder / "shared"
        shutil.copytree(image, self.root, symlinks=True)
        # What a runtime puts into every container.
        (self.root / "etc/resolv.conf").write_text(RESOLV_CONF)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (self.root / "proc").mkdir()
        if secret:
            # The Secret of the manifest, as the kubelet mounts it: readable for all.
            shutil.copytree(secret, self.root / "etc/sidelock/redis")
        self.shared.mkdir()
        run("mount", "-t", "tmpfs", "-o", "mode=0777", "emptydir", self.shared)
        run("mount", "--bind", self.root, self.root)
        run("mount", "-o", "remount,bind,ro", self.root)
        run("mount", "-t", "proc", "proc", self.root / "proc")
        run("mount", "--bind", self.shared, self.root / "run/sidelock")

    def __enter__(self) -> "Pod":
        return self

    def __exit__(self, *_: object) -> None:
        run("umount", "--recursive", self.root)
        run("umount", self.shared)
        shutil.rmtree(self.folder)

    def start(self, *command: object, user: int, groups: list[int], environment: dict[str, str]) -> Program:
        """A process of the container's image, with this user and nothing more."""
        return Program(*command, env=environment, preexec_fn=lambda: self.enter(user, groups))

    def enter(self, user: int, groups: list[int]) -> None:
        os.chroot(self.root)
        os.chdir("/")
        drop_rights(user, groups)


def drop_rights(user: int, groups: list[int]) -> None:
    """The user, its groups, and no way back."""
    os.setgroups(groups)
    os.setgid(user)
    os.setuid(user)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def neighbour(*command: object, groups: list[int], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process of another container of the pod, as uid 1000; it has another root and the same shared folder."""
    words = [str(word) for word in command]
    enter = lambda: drop_rights(1000, groups)  # noqa: E731
    return subprocess.run(words, env=environment, preexec_fn=enter, text=True, capture_output=True)
