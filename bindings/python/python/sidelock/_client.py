"""The client of programs that block, and what it gives out.

Owns the wait: each call blocks its thread until the sidecar answered. Thread-safe throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack, cast

from . import _native
from ._calls import acquire, blocking
from ._errors import Invalid, Versioned
from ._gate import Gate
from ._leader import Leader
from ._lease import Lease, Turn
from ._locked import KeyTemplate
from ._requests import Ask, Candidate, LeaseOptions, Requests, TurnAsk
from ._seen import Holder, Sidecar, to_holder, to_sidecar
from ._span import Seconds

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Lock(Gate[Lease]):
    """Something to acquire: a lock, permits of a semaphore or rate, a share, several keys. Stateless: every acquire gives a new
    lease, and any number of threads can use the same object, also as a context manager."""

    __slots__ = ("_ask", "_client")

    def __init__(self, client: Client, ask: Ask) -> None:
        super().__init__()
        self._client = client
        self._ask = ask

    def acquire(self, wait: Seconds | None = None) -> Lease:
        """Acquires it, waiting `wait` seconds at most; without that, as was said when it was made.

        Raises `WaitTimeout` if the wait is over, and any other `SidelockError`.
        """
        client, ask = self._client, self._ask
        return Lease(acquire(client._share, ask.arguments(wait)), ask.key, client._losses)

    _gain = acquire

    def try_acquire(self, wait: Seconds = 0) -> Lease | None:
        """Acquires it if it is free, or becomes free within `wait` seconds; else `None`."""
        return self._try(wait)


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


class Once(Gate[Turn]):
    """Something to do once per window; see `Client.once`."""

    __slots__ = ("_ask", "_client")

    def __init__(self, client: Client, ask: TurnAsk) -> None:
        super().__init__()
        self._client = client
        self._ask = ask

    def enter(self, wait: Seconds | None = None) -> Turn:
        """The turn, or what another one left. Waits `wait` seconds at most for whoever has the turn.

        Raises `WaitTimeout` if somebody still has it then.
        """
        entered = blocking(self._client._native.enter_blocking, self._ask.wish(wait))
        return Turn(entered, self._ask.key, self._client._losses)

    _gain = enter

    def try_enter(self, wait: Seconds = 0) -> Turn | None:
        """As `enter`; `None`: somebody has the turn and is at it."""
        return self._try(wait)


class Register:
    """A small value with a version. The lock of the same name protects it if its users want that: with `lease=`, an operation
    happens only under that live exclusive lease, and no earlier holder's write gets in after it."""

    __slots__ = ("_native",)

    def __init__(self, native: _native.Register) -> None:
        self._native = native

    def get(self, *, lease: Lease | None = None) -> Versioned:
        """Its value and version. Raises `NotFound` if it has none."""
        value = blocking(self._native.get_blocking, _native_lease(lease))
        return Versioned(value.value, value.etag)

    def put(
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
        return blocking(
            self._native.put_blocking, value, put_condition(if_match, if_absent), _native_lease(lease)
        )

    def delete(self, *, if_match: str | None = None, lease: Lease | None = None) -> None:
        """Takes its value away. Raises `NotFound` if it has none, `Conflict` if it is another version."""
        blocking(self._native.delete_blocking, if_match, _native_lease(lease))

    def watch(self, after: str | None = None) -> Iterator[Versioned | None]:
        """Its value now, or the first that is not the version `after`; and then each time that it is another one. `None`: there
        is none now. Values in between may be missed, the last one never."""
        watch = self._native.watch(after)
        while True:
            value = blocking(watch.next_blocking)
            yield None if value is None else Versioned(value.value, value.etag)


class Client(Requests[Lock, RwLock, Once, Register, Leader]):
    """A client of the sidecar on this host, for programs that block. Thread-safe; one per process is enough.

    >>> sl = sidelock.Client()
    >>> with sl.lock("orders/42", wait=5) as lease:
    ...     print(lease.fence)

    It is closed with its last reference. `close`, or leaving its own `with` block, closes it before.
    """

    def try_lock(self, key: str, *, wait: Seconds = 0, **options: Unpack[LeaseOptions]) -> Lease | None:
        """The lock `key` if it is free, or becomes free within `wait` seconds; else `None`."""
        return self.lock(key, **options).try_acquire(wait)

    def locked(
        self, key: str, *, wait: Seconds | None = None, **options: Unpack[LeaseOptions]
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Runs a function under a lock whose key may name its arguments: `@sl.locked("user/{user_id}", wait=2)`."""

        def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
            if iscoroutinefunction(function) or isasyncgenfunction(function):
                raise Invalid("an async function wants the lock of a sidelock.aio.Client", code="bad_request")
            if isgeneratorfunction(function):
                text = "a generator function runs after the call that makes its generator: take the lock in its body"
                raise Invalid(text, code="bad_request")
            template = KeyTemplate(key, function)

            @wraps(function)
            def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                with self.lock(template.fill(args, kwargs), wait=wait, **options):
                    return function(*args, **kwargs)

            return run

        return decorate

    def holders(self, key: str) -> list[Holder]:
        """Who has `key` now, a hundred at most; nobody: it is free. Disturbs nobody."""
        return [to_holder(holder) for holder in blocking(self._native.holders_blocking, key)]

    def sidecar(self) -> Sidecar | None:
        """What the sidecar says of itself; connects if need be. `None` while the connection is broken."""
        return to_sidecar(blocking(self._native.connect_blocking))

    def close(self) -> None:
        """Ends it at once: its leases are lost (`session`), and whatever waits or is asked from now on is `Invalid`. Doing it again
        does nothing. What a forked child closes is its own connection."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

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


# The generator makes its variants in a way that type checkers do not follow.
_condition: Any = _native.Condition


def put_condition(if_match: str | None, if_absent: bool) -> _native.Condition:
    """The one condition of a write."""
    if if_match is not None and if_absent:
        raise Invalid("a write has one condition: if_match or if_absent", code="bad_request")
    if if_match is not None:
        condition = _condition.IF_MATCH(if_match)
    else:
        condition = _condition.IF_ABSENT() if if_absent else _condition.ALWAYS()
    return cast(_native.Condition, condition)


def _native_lease(lease: Lease | None) -> _native.Lease | None:
    return None if lease is None else lease._native
