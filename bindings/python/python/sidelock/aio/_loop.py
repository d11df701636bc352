"""What each event loop has here.

Owns the operations that its tasks wait for, and the one descriptor by which the native library tells of all that can go on.
Must not keep a loop: what belongs to one goes with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import weakref
from typing import Any

from .. import _native, _plain

_AT_A_TIME = 256


class Place:
    """That of one loop."""

    __slots__ = ("__weakref__", "_native", "_tickets", "address", "waiting")

    def __init__(self) -> None:
        make: Any = _native.EventLoop
        self._native: _native.EventLoop = make()
        self._tickets = (ctypes.c_uint64 * _AT_A_TIME)()
        self.address = self._native.address()
        self.waiting: dict[int, asyncio.Future[None]] = {}

    def descriptor(self) -> int:
        return self._native.descriptor()

    def wake(self) -> None:
        """Lets the tasks go on whose operations can; those that do not fit are told of once more."""
        tickets, waiting = self._tickets, self.waiting
        for number in range(_plain.woken(self.address, tickets, _AT_A_TIME)):
            waiter = waiting.pop(tickets[number], None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


_places: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Place] = weakref.WeakKeyDictionary()


class _Last(threading.local):
    """The place that this thread used last."""

    loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    place: Place


_last = _Last()


def here(loop: asyncio.AbstractEventLoop) -> Place:
    """The place of the loop that runs in this thread."""
    if _last.loop is not None and _last.loop() is loop:
        return _last.place
    place = _places.get(loop)
    if place is None:
        place = Place()
        loop.add_reader(place.descriptor(), place.wake)
        _places[loop] = place
    _last.loop, _last.place = weakref.ref(loop), place
    return place
