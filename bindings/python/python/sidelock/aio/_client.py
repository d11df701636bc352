"""The client of asyncio programs, and what it gives out.

Owns nothing of the wait: the event loop drives the native futures, which belong to no loop, so one client serves any.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

from .. import _native
from .._client import put_condition
from .._errors import Invalid, Versioned
from .._gate import AsyncGate
from .._locked import KeyTemplate
from .._plain import LeaseShare, begin_acquire
from .._requests import Ask, Candidate, LeaseOptions, Requests, TurnAsk
from .._seen import Holder, Sidecar, to_holder, to_sidecar
from .._span import Seconds
from ._calls import call, run
from ._leader import Leader
from ._lease import Lease, Turn

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Lock(AsyncGate[Lease]):
    """Something to acquire: a lock, permits of a semaphore or rate, a share, several keys. Stateless: every acquire gives a new
    lease, and any number of tasks can use the same object, also as a context manager."""

    __slots__ = ("_ask", "_client")

    def __init__(self, client: Client, ask: Ask) -> None:
        super().__init__()
        self._client = client
        self._ask = ask

    async def acquire(self, wait: Seconds | None = None) -> Lease:
        """Acquires it, waiting `wait` seconds at most; without that, as was said when it was made. Cancelling leaves the queue.

        Raises `WaitTimeout` if the wait is over, and any other `SidelockError`.
        """
        client, ask = self._client, self._ask
        lease = LeaseShare()
        await run(begin_acquire, client._share, *ask.arguments(wait), lease)
        return Lease(lease, ask.key, client._losses)

    _gain = acquire

    async def try_acquire(self, wait: Seconds = 0) -> Lease | None:
        """Acquires it if it is free, or becomes free within `wait` seconds; else `None`."""
        return await self._try(wait)


class RwLock:
    """Many readers or one writer."""

    __slots__ = ("_client", "_read", "_write")

    def __init__(self, client: Client, read: Ask, write: Ask) -> None:
        self._client = client
        self._read = read
        self._write = write

    def read(self) -> Lock:
        """A share, beside other readers."""
        return Lock(self._client, self._read)

    def write(self) -> Lock:
        """All of it."""
        return Lock(self._client, self._write)


class Once(AsyncGate[Turn]):
    """Something to do once per window; see `Client.once`."""

    __slots__ = ("_ask", "_client")

    def __init__(self, client: Client, ask: TurnAsk) -> None:
        super().__init__()
        self._client = client
        self._ask = ask

    async def enter(self, wait: Seconds | None = None) -> Turn:
        """The turn, or what another one left. Waits `wait` seconds at most for whoever has the turn.

        Raises `WaitTimeout` if somebody still has it then.
        """
        entered = await call(self._client._native.enter(self._ask.wish(wait), None))
        return Turn(entered, self._ask.key, self._client._losses)

    _gain = enter

    async def try_enter(self, wait: Seconds = 0) -> Turn | None:
        """As `enter`; `None`: somebody has the turn and is at it."""
        return await self._try(wait)


class Register:
    """A small value with a version. The lock of the same name protects it if its users want that: with `lease=`, an operation
    happens only under that live exclusive lease, and no earlier holder's write gets in after it."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Register) -> None:
        self._native = native

    async def get(self, *, lease: Lease | None = None) -> Versioned:
        """Its value and version. Raises `NotFound` if it has none."""
        value = await call(self._native.get(_native_lease(lease), None))
        return Versioned(value.value, value.etag)

    async def put(
        self,
        value: bytes,
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        lease: Lease | None = None,
    ) -> str:
        """Gives it another value, at most 64 KiB; returns the version of that.

        `if_match`: only if this version is there; `if_absent`: only if there is no value. Else raises `Conflict`, with what is
        there. `OutcomeUnknown`: it may have happened; read before you repeat it.
        """
        condition = put_condition(if_match, if_absent)
        return await call(self._native.put(value, condition, _native_lease(lease), None))

    async def delete(self, *, if_match: str | None = None, lease: Lease | None = None) -> None:
        """Takes its value away. Raises `NotFound` if it has none, `Conflict` if it is another version."""
        await call(self._native.delete(if_match, _native_lease(lease), None))

    async def watch(self, after: str | None = None) -> AsyncIterator[Versioned | None]:
        """Its value now, or the first that is not the version `after`; and then each time that it is another one. `None`: there
        is none now. Values in between may be missed, the last one never."""
        watch = self._native.watch(after)
        while True:
            value = await call(watch.next(None))
            yield None if value is None else Versioned(value.value, value.etag)


class Client(Requests[Lock, RwLock, Once, Register, Leader]):
    """A client of the sidecar on this host, for asyncio. One per process is enough, whatever its loops and threads.

    It is closed with its last reference. `close`, or leaving its own `async with` block, closes it before.
    """

    async def try_lock(
        self, key: str, *, wait: Seconds = 0, **options: Unpack[LeaseOptions]
    ) -> Lease | None:
        """The lock `key` if it is free, or becomes free within `wait` seconds; else `None`."""
        return await self.lock(key, **options).try_acquire(wait)

    def locked(
        self, key: str, *, wait: Seconds | None = None, **options: Unpack[LeaseOptions]
    ) -> Callable[[Callable[_P, Awaitable[_R]]], Callable[_P, Awaitable[_R]]]:
        """Runs an async function under a lock whose key may name its arguments: `@aio.locked("user/{user_id}", wait=2)`."""

        def decorate(function: Callable[_P, Awaitable[_R]]) -> Callable[_P, Awaitable[_R]]:
            if not iscoroutinefunction(function):
                raise Invalid("a plain function wants the lock of a sidelock.Client", code="bad_request")
            template = KeyTemplate(key, function)

            @wraps(function)
            async def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                async with self.lock(template.fill(args, kwargs), wait=wait, **options):
                    return await function(*args, **kwargs)

            return run

        return decorate

    async def holders(self, key: str) -> list[Holder]:
        """Who has `key` now, a hundred at most; nobody: it is free. Disturbs nobody."""
        return [to_holder(holder) for holder in await call(self._native.holders(key, None))]

    async def sidecar(self) -> Sidecar | None:
        """What the sidecar says of itself; connects if need be. `None` while the connection is broken."""
        return to_sidecar(await call(self._native.connect(None)))

    async def close(self) -> None:
        """Ends it at once: its leases are lost (`session`), which cancels the tasks that run under them, and whatever waits or is
        asked from now on is `Invalid`. Doing it again does nothing."""
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _lock(self, ask: Ask) -> Lock:
        return Lock(self, ask)

    def _rwlock(self, read: Ask, write: Ask) -> RwLock:
        return RwLock(self, read, write)

    def _once(self, ask: TurnAsk) -> Once:
        return Once(self, ask)

    def _register(self, native: _native.Register) -> Register:
        return Register(native)

    def _leader(self, candidate: Candidate) -> Leader:
        return Leader(candidate, self._losses)


def _native_lease(lease: Lease | None) -> _native.Lease | None:
    return None if lease is None else lease._native
