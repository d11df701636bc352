"""What a `with` block has entered.

Owns the pairing of entering and leaving. A lock object is stateless and may be used by several threads or tasks at a time, so
each finds on leaving what it entered itself. Who leaves need not be who entered: frameworks run the two halves of a generator with
a `with` in it on whichever thread is idle, and an abandoned one is closed by another task.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from ._owner import actor

_T = TypeVar("_T")


class Entries(Generic[_T]):
    """Stacks, one per thread or task. Each touches its own, or the only one that there is."""

    __slots__ = ("_stacks",)

    def __init__(self) -> None:
        self._stacks: dict[int, list[_T]] = {}

    def push(self, item: _T) -> None:
        self._stacks.setdefault(id(actor()), []).append(item)

    def pop(self) -> _T:
        number = id(actor())
        if number not in self._stacks:
            if not self._stacks:
                raise RuntimeError("this lock is left and nobody is in it")
            if len(self._stacks) > 1:
                raise RuntimeError(
                    f"this lock is left by a thread or task that did not enter it, while {len(self._stacks)} others are in it: "
                    "which of them is meant? Make a lock object for each, or leave it where it was entered"
                )
            [number] = self._stacks
        stack = self._stacks[number]
        item = stack.pop()
        if not stack:
            del self._stacks[number]
        return item
