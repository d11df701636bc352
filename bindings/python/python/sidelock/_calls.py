"""Native calls that block the thread.

Owns what a signal means for one. Python runs signal handlers only when a call has come back, so a native call comes back for
every signal, and goes on with its ticket if the handler did not raise. If it did (Ctrl-C), the call is forgotten: a wait
leaves its queue, and a lease that was granted in that moment is given back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from . import _native, _plain
from ._errors import failures, translate

_T = TypeVar("_T")


def blocking(call: Callable[..., _T], *arguments: Any) -> _T:
    """What `call` returns; its last parameter is the ticket."""
    ticket = next(_plain.tickets)
    try:
        while True:
            try:
                return call(*arguments, ticket)
            except failures.Stopped:
                # A signal. Its handler has run by now, or runs before the next line does.
                continue
            except failures as failure:
                error = translate(failure)
                break
    except BaseException:
        _plain.forget(ticket)
        raise
    raise error


def acquire(client: _plain.ClientShare, arguments: tuple[bytes, int, bytes, int, int]) -> _plain.LeaseShare:
    lease = _plain.LeaseShare()
    blocking(_plain_call, _plain.acquire, client, *arguments, lease)
    return lease


def release(lease: _plain.LeaseShare) -> None:
    blocking(_plain_call, _plain.release, lease)


def _plain_call(function: Callable[..., int], *arguments: Any) -> None:
    if function(*arguments) == _plain.FAILED:
        _native.failed(arguments[-1])
