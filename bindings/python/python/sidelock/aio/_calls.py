"""Native calls of an event loop.

Owns their errors. Cancelling the task that awaits one drops the native future: a wait leaves its queue, and a lease that was
granted in that moment is given back.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from .._errors import failures, translate

_T = TypeVar("_T")


async def call(operation: Awaitable[_T]) -> _T:
    """What a native operation returns, or raises for users."""
    try:
        return await operation
    except failures as failure:
        error = translate(failure)
    raise error
