"""Who asks: one sequential actor, for the detection of deadlocks.

Owns the owner of the code that runs now. Each thread and each asyncio task is an owner of its own. The context carries it
together with whose it is, so that a task or thread that merely inherits a context begins a new one: two actors under one
name would be taken for one that waits for itself.
"""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_numbers = itertools.count(1)


class _Thread(threading.local):
    """Something that only the running thread has; numbers of threads are used again, this is not."""

    def __init__(self) -> None:
        self.identity: Any = _Identity()


class _Identity:
    __slots__ = ("__weakref__",)


_thread = _Thread()
# The name, and whose it is: weakly, because a task owns the context that this stands in.
_current: ContextVar[tuple[str, weakref.ref[Any]] | None] = ContextVar("sidelock.owner", default=None)


def actor() -> Any:
    """The running asyncio task, or else the thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        task = asyncio.current_task()
        if task is not None:
            return task
    return _thread.identity


def actor_name() -> str:
    """The name of the owner that runs now."""
    running = actor()
    current = _current.get()
    if current is not None and current[1]() is running:
        return current[0]
    name = f"{_short(_shown(running))}#{next(_numbers)}"
    _current.set((name, weakref.ref(running)))
    return name


def _short(name: str) -> str:
    """As much of a name as an owner may have, who has 128 bytes with the number behind it. Programs name tasks as they like."""
    return name.encode(errors="replace")[:96].decode(errors="ignore")


def _shown(actor: Any) -> str:
    return threading.current_thread().name if isinstance(actor, _Identity) else str(actor.get_name())


@contextmanager
def owner(name: str) -> Iterator[None]:
    """In this block, requests of the running thread or task are made by the owner `name`.

    Owners matter for deadlocks: one that holds `a` and waits for `b`, while another holds `b` and waits for `a`, is told
    `Deadlock` instead of waiting for ever. Without this each thread and each asyncio task is an owner of its own, and what it
    starts is not. Use it to join what does one thing after the other but is spread over several tasks or threads: they say
    the same name, each in its own block. An owner waits for one thing at a time; a second request meanwhile is `Invalid`.
    """
    token = _current.set((name, weakref.ref(actor())))
    try:
        yield
    finally:
        _current.reset(token)
