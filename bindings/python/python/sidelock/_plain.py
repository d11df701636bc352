"""The calls that are made most, by plain C functions.

Owns their signatures, and what goes into them: an order (what to ask for) is bytes, an object a share of it, what came of a
call a number. The generated code carries records over for ten times what a lock takes.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from typing import Any, Never

from . import _native
from ._errors import Invalid

PENDING = 0
DONE = 1
FAILED = 2

# The generated module has loaded it.
_library: Any = _native.sidelock_ffi._UniffiLib


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = _library[name]
    function.restype = result
    function.argtypes = arguments
    return function


_number, _bytes, _size, _outcome = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint8
_place = ctypes.POINTER(ctypes.c_uint64)


class Share(ctypes.c_uint64):
    """A share of a native object, which is freed with this. A call writes it here before it returns, so no exception can come
    between. 0: of nothing yet, or no longer. What is collected in one circle ends in any order and may use each other once
    more; nothing is then what the native functions take for an answer."""

    __slots__ = ()
    _free: Any

    def __reduce__(self) -> Never:
        raise TypeError("this belongs to one process and is there once: it can be neither copied nor pickled")

    def __del__(self) -> None:
        share, self.value = self.value, 0
        if share:
            self._free(share)


class ClientShare(Share):
    __slots__ = ()
    _free = _function("sidelock_free_client", None, _number)


class LeaseShare(Share):
    __slots__ = ()
    _free = _function("sidelock_free_lease", None, _number)


class LoopShare(Share):
    __slots__ = ()
    _free = _function("sidelock_free_loop", None, _number)


# The address of a generated object, where to write the share.
share_client = _function("sidelock_share_client", None, _number, _place)
_share_lease = _function("sidelock_share_lease", None, _number, _place)
# Client, order, its length, owner, its length, wait, where to write the lease, ticket; in front of it the event loop.
_acquire = (_number, _bytes, _size, _bytes, _size, _number, _place, _number)
acquire = _function("sidelock_acquire", _outcome, *_acquire)
begin_acquire = _function("sidelock_begin_acquire", _outcome, _number, *_acquire)
# Lease, ticket.
release = _function("sidelock_release", _outcome, _number, _number)
begin_release = _function("sidelock_begin_release", _outcome, _number, _number, _number)
fence = _function("sidelock_fence", _number, _number)
is_valid = _function("sidelock_is_valid", ctypes.c_bool, _number)
# Ticket.
forget = _function("sidelock_forget", None, _number)
# Where to write the loop, and the descriptor that is to be watched; ticket.
new_loop = _function("sidelock_new_loop", _outcome, _place, ctypes.POINTER(ctypes.c_int32), _number)
# Event loop, where to write the lease, ticket.
go_on = _function("sidelock_go_on", _outcome, _number, _place, _number)
give_up = _function("sidelock_give_up", None, _number, _number)
# Event loop, where to write tickets, room for how many.
woken = _function("sidelock_woken", _size, _number, _place, _size)


def share_lease(lease: _native.Lease) -> LeaseShare:
    """A share of a lease of the generated code."""
    share = LeaseShare()
    _share_lease(lease.address(), share)
    return share


tickets = itertools.count(1)

EXCLUSIVE, SHARED, PERMITS, RATE = range(4)
AS_DEFAULT_MS = 2**64 - 2
_ABSENT = 2**64 - 1
_ORDER = struct.Struct("<BBiIIQQQ")
_LENGTH = struct.Struct("<I")


def order(
    keys: list[str],
    units: tuple[int, int, int, int],
    reentrant: bool,
    priority: int,
    ttl: int | None,
    max_hold: int | None,
) -> bytes:
    """An order; `units` is the kind, permits, limit, and what a rate's window is in milliseconds."""
    kind, permits, limit, per = units
    try:
        head = _ORDER.pack(
            kind,
            bool(reentrant),
            priority,
            permits,
            limit,
            per,
            _ABSENT if ttl is None else ttl,
            _ABSENT if max_hold is None else max_hold,
        )
    except struct.error as error:
        text = f"permits {permits}, limit {limit}, priority {priority}: not the numbers that are possible ({error})"
        raise Invalid(text, code="bad_request") from None
    for key in keys:
        name = key.encode()
        head += _LENGTH.pack(len(name)) + name
    return head
