"""What a `with` block has entered.

Owns the pairing of entering and leaving. A lock object is stateless and may be used by several threads or tasks at a time, so
each finds on leaving what it entered itself.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ._owner import actor

_T = TypeVar("_T")


class Entries(Generic[_T]):
    """Stacks, one per thread or task. Each touches its own only."""

    __slots__ = ("_stacks",)

    def __init__(self) -> None:
        self._stacks: dict[int, list[_T]] = {}

    def push(self, item: _T) -> None:
        self._stacks.setdefault(id(actor()), []).append(item)

    def pop(self) -> _T:
        number = id(actor())
        stack = self._stacks[number]
        item = stack.pop()
        if not stack:
            del self._stacks[number]
        return item
