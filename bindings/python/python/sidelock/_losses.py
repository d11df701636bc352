"""Who wants to hear of the loss of which lease.

Owns the numbers under which leases are watched. Must not keep a lease alive: one that nobody refers to is given back.
"""

from __future__ import annotations

import atexit
import itertools
import weakref
from typing import Protocol

from . import _native
from ._errors import reason_name

_numbers = itertools.count(1)
# The interpreter must not end under a thread that has just told it something.
atexit.register(_native.quiet)


class Loser(Protocol):
    """A lease that can be told of its loss, on a thread of no event loop, which it may use as it likes."""

    def _lose(self, reason: str) -> None: ...


class Losses(_native.LossListener):
    """The listener of one client."""

    def __init__(self) -> None:
        self._watched: weakref.WeakValueDictionary[int, Loser] = weakref.WeakValueDictionary()

    def watch(self, native: _native.Lease, lease: Loser) -> None:
        number = next(_numbers)
        self._watched[number] = lease
        native.watch(number)

    def lost(self, number: int, reason: _native.LossReason) -> None:
        """Called by the native library, once per watched lease at most."""
        lease = self._watched.pop(number, None)
        if lease is not None:
            lease._lose(reason_name(reason))
