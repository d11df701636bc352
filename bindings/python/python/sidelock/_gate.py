"""What a `with` statement enters.

Owns that: what comes in is found again by whoever leaves, and a wait that is over is `None` for those who try. How it is acquired,
and under which name, is that of the subclasses.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._entries import Entries
from ._errors import WaitTimeout
from ._span import Seconds

_Held = TypeVar("_Held", bound=AbstractContextManager[Any])
_AsyncHeld = TypeVar("_AsyncHeld", bound=AbstractAsyncContextManager[Any])


class Gate(Generic[_Held]):
    """For programs that block. Any number of threads can use the same one."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: Entries[_Held] = Entries()

    def _gain(self, wait: Seconds | None = None) -> _Held:
        raise NotImplementedError

    def _try(self, wait: Seconds) -> _Held | None:
        try:
            return self._gain(wait)
        except WaitTimeout:
            return None

    def __enter__(self) -> _Held:
        held = self._gain()
        self._entries.push(held)
        return held

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entries.pop().__exit__(kind, error, traceback)


class AsyncGate(Generic[_AsyncHeld]):
    """For asyncio. Any number of tasks can use the same one."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: Entries[_AsyncHeld] = Entries()

    async def _gain(self, wait: Seconds | None = None) -> _AsyncHeld:
        raise NotImplementedError

    async def _try(self, wait: Seconds) -> _AsyncHeld | None:
        try:
            return await self._gain(wait)
        except WaitTimeout:
            return None

    async def __aenter__(self) -> _AsyncHeld:
        held = await self._gain()
        await held.__aenter__()
        self._entries.push(held)
        return held

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._entries.pop().__aexit__(kind, error, traceback)
