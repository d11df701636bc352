"""The calls that are made most, by plain C functions.

Owns their signatures, and what goes into them: an order (what to ask for) is bytes, an object its address, what came of a call
a number. The generated code carries records over for ten times what a lock takes.
"""

from __future__ import annotations

import ctypes
import itertools
import struct
from pathlib import Path
from typing import Any

from . import _native
from ._errors import Invalid

PENDING = 0
DONE = 1
FAILED = 2

# The generated module has it loaded already.
_library = ctypes.CDLL(str(Path(_native.__file__).with_name("libsidelock_ffi.so")))


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = _library[name]
    function.restype = result
    function.argtypes = arguments
    return function


_number, _bytes, _size = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t

# Client, order, its length, owner, its length, wait, ticket; in front of it the event loop.
_acquire = (_number, _bytes, _size, _bytes, _size, _number, _number)
acquire = _function("sidelock_acquire", _number, *_acquire)
begin_acquire = _function("sidelock_begin_acquire", _number, _number, *_acquire)
# Lease, ticket.
release = _function("sidelock_release", _number, _number, _number)
begin_release = _function("sidelock_begin_release", _number, _number, _number, _number)
fence = _function("sidelock_fence", _number, _number)
is_valid = _function("sidelock_is_valid", ctypes.c_bool, _number)
free_lease = _function("sidelock_free_lease", None, _number)
# Event loop, ticket.
go_on = _function("sidelock_go_on", _number, _number, _number)
give_up = _function("sidelock_give_up", None, _number, _number)
# Event loop, where to write tickets, room for how many.
woken = _function("sidelock_woken", _size, _number, ctypes.POINTER(_number), _size)

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
