"""What each event loop has here.

Owns the operations that its tasks wait for, and the one descriptor by which the native library tells of all that can go on.
Must not keep a loop: what belongs to one goes with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import weakref

from .. import _native, _plain
from .._errors import failures, translate

_AT_A_TIME = 256


class Place:
    """That of one loop."""

    __slots__ = ("__weakref__", "_tickets", "descriptor", "share", "waiting")

    def __init__(self) -> None:
        self.share = _plain.LoopShare()
        descriptor, ticket = ctypes.c_int32(), next(_plain.tickets)
        if _plain.new_loop(self.share, descriptor, ticket) == _plain.FAILED:
            try:
                _native.failed(ticket)
            except failures as failure:
                raise translate(failure) from None
        self.descriptor = descriptor.value
        self._tickets = (ctypes.c_uint64 * _AT_A_TIME)()
        self.waiting: dict[int, asyncio.Future[None]] = {}

    def wake(self) -> None:
        """Lets the tasks go on whose operations can; those that do not fit are told of once more."""
        tickets, waiting = self._tickets, self.waiting
        for number in range(_plain.woken(self.share, tickets, _AT_A_TIME)):
            waiter = waiting.pop(tickets[number], None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


_places: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Place] = weakref.WeakKeyDictionary()


class _Last(threading.local):
    """The place that this thread used last."""

    loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    place: Place


_last = _Last()


def _begin_anew() -> None:
    """A forked child watches descriptors of its own, even for a loop that it inherits."""
    _places.clear()
    _last.loop = None


os.register_at_fork(after_in_child=_begin_anew)


def here(loop: asyncio.AbstractEventLoop) -> Place:
    """The place of the loop that runs in this thread."""
    if _last.loop is not None and _last.loop() is loop:
        return _last.place
    place = _places.get(loop)
    if place is None:
        place = Place()
        loop.add_reader(place.descriptor, place.wake)
        _places[loop] = place
    _last.loop, _last.place = weakref.ref(loop), place
    return place
