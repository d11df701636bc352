"""Native calls of an event loop.

Owns how the task that made one waits for it, its errors, and what becomes of one that is cancelled: a wait leaves its queue, and
a lease that was granted in that moment is given back. The calls that are made most have a way of their own.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from .. import _native, _plain
from .._errors import failures, translate
from ._loop import here

_T = TypeVar("_T")


async def call(operation: Awaitable[_T]) -> _T:
    """What a native operation returns, or raises for users."""
    try:
        return await operation
    except failures as failure:
        error = translate(failure)
    raise error


async def run(begin: Callable[..., int], *arguments: Any) -> None:
    """Waits for an operation. `begin` is a plain function whose first parameter is the event loop, and whose last is the ticket;
    what it gains is written to the one before that."""
    loop = get_running_loop()
    place, ticket = here(loop), next(_plain.tickets)
    try:
        outcome = begin(place.share, *arguments, ticket)
        while outcome == _plain.PENDING:
            place.waiting[ticket] = waiter = loop.create_future()
            await waiter
            outcome = _plain.go_on(place.share, arguments[-1], ticket)
        if outcome == _plain.FAILED:
            _native.failed(ticket)
        return
    except failures as failure:
        error = translate(failure)
    except BaseException:
        place.waiting.pop(ticket, None)
        _plain.give_up(place.share, ticket)
        raise
    raise error


_generated: Any = _native.sidelock_ffi


async def _await_future(
    future: Any,
    poll: Callable[..., None],
    complete: Callable[..., Any],
    free: Callable[..., None],
    lift: Callable[[Any], Any],
    failure: Any,
) -> Any:
    """In the place of the generated function, which frees a future that is cancelled with the result that it may have by then:
    nobody would have that, and a lease would be held until the program ends."""

    def result() -> Any:
        return lift(_generated._uniffi_rust_call_with_error(failure, complete, future))

    loop = _generated._uniffi_get_event_loop()
    try:
        try:
            while True:
                polled = loop.create_future()
                handle = _generated._UniffiContinuationHandleMap.insert((loop, polled))
                poll(future, _generated._uniffi_continuation_callback, handle)
                if await polled == _generated._UNIFFI_RUST_FUTURE_POLL_READY:
                    break
        except BaseException:
            with suppress(Exception):
                # Dropped at once.
                result()
            raise
        return result()
    finally:
        free(future)


_generated._uniffi_rust_call_async = _await_future
