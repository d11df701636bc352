"""What can be asked for: the part of a client that blocking and asyncio programs share.

Owns the names, options and defaults of requests. How one is waited for is the clients' business.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Generic, Literal, Self, TypedDict, TypeVar, Unpack

from . import _native, _plain
from ._errors import Invalid
from ._losses import Losses
from ._owner import actor_name
from ._span import Seconds, optional_ms, to_ms, wait_ms

Scope = Literal["process", "host", "fleet"]
"""How far locks reach: this process (embedded), this host (a sidecar on its memory store), all sidecars of a Redis."""

# Kind, permits, limit, window.
Units = tuple[int, int, int, int]
_EXCLUSIVE: Units = (_plain.EXCLUSIVE, 0, 0, 0)
_SHARED: Units = (_plain.SHARED, 0, 0, 0)

_SCOPES = {
    "process": _native.Scope.PROCESS,
    "host": _native.Scope.HOST,
    "fleet": _native.Scope.FLEET,
}


_ALIGNS = {"rolling": _native.Align.ROLLING, "utc": _native.Align.UTC}


class TurnOptions(TypedDict, total=False):
    """Options of every request."""

    ttl: Seconds | None
    """Loses the lease so long after its grant or its last `renew`. Without this the session keeps it alive."""
    max_hold: Seconds | None
    """Loses the lease so long after its grant, whatever keeps it alive."""
    priority: int
    """Ahead of local waiters with a lower one, -100 to 100; a waiter gains one a second."""
    owner: str | None
    """The sequential actor that asks. Without this: `sidelock.owner`, else the running thread or task."""


class LeaseOptions(TurnOptions, total=False):
    """Options of a request for a lock or for permits."""

    reentrant: bool
    """If the owner holds the key already, gets one more handle of that lease at once, instead of `Deadlock`."""


_TURN_OPTIONS = frozenset(TurnOptions.__annotations__)
_LEASE_OPTIONS = _TURN_OPTIONS | frozenset(LeaseOptions.__annotations__)


def _known(options: Mapping[str, object], known: frozenset[str]) -> None:
    """What is misspelt must not be left out: `timeout=5` would wait without end."""
    if not options.keys() <= known:
        unknown = min(options.keys() - known)
        raise TypeError(f"{unknown!r} is no option; there are wait, {', '.join(sorted(known))}")


class Ask:
    """A request for leases, before it is known how long it waits and who asks."""

    __slots__ = ("key", "_order", "_owner", "_wait")

    def __init__(self, keys: list[str], units: Units, wait: Seconds | None, options: LeaseOptions) -> None:
        _known(options, _LEASE_OPTIONS)
        self.key = ", ".join(keys)
        self._order = _plain.order(
            keys,
            units,
            options.get("reentrant", False),
            options.get("priority", 0),
            optional_ms(options.get("ttl"), "ttl"),
            optional_ms(options.get("max_hold"), "max_hold"),
        )
        self._wait = _plain_wait(wait)
        self._owner = options.get("owner")

    def arguments(self, wait: Seconds | None) -> tuple[bytes, int, bytes, int, int]:
        """Of a native call, for the owner that runs now; `None` waits as was said before."""
        owner = (self._owner or actor_name()).encode()
        order = self._order
        return order, len(order), owner, len(owner), self._wait if wait is None else _plain_wait(wait)


def _plain_wait(wait: Seconds | None) -> int:
    ms = wait_ms(wait)
    return _plain.AS_DEFAULT_MS if ms is None else ms


class TurnAsk:
    """A request for the turn of a once key."""

    __slots__ = ("key", "_align", "_options", "_per", "_wait")

    def __init__(
        self, key: str, per: Seconds, align: Literal["rolling", "utc"], wait: Seconds | None, options: TurnOptions
    ) -> None:
        _known(options, _TURN_OPTIONS)
        if align not in _ALIGNS:
            raise Invalid(f"align is {align!r}; it has to be 'rolling' or 'utc'", code="bad_request")
        self.key = key
        self._per = to_ms(per, "per")
        self._align = _ALIGNS[align]
        self._wait = wait
        self._options = options

    def wish(self, wait: Seconds | None) -> _native.TurnWish:
        """As `Ask.wish`."""
        return _native.TurnWish(
            key=self.key,
            per_ms=self._per,
            align=self._align,
            wait_ms=wait_ms(self._wait if wait is None else wait),
            ttl_ms=optional_ms(self._options.get("ttl"), "ttl"),
            max_hold_ms=optional_ms(self._options.get("max_hold"), "max_hold"),
            owner=self._options.get("owner") or actor_name(),
            priority=self._options.get("priority", 0),
        )


class Candidate:
    """An election, before it is known how long a campaign waits and who stands."""

    __slots__ = ("key", "native", "_max_term", "_owner", "_wait")

    def __init__(
        self,
        native: _native.Leader,
        name: str,
        wait: Seconds | None,
        max_term: Seconds | None,
        owner: str | None,
    ) -> None:
        self.native = native
        self.key = f"leader/{name}"
        self._wait = wait
        self._max_term = optional_ms(max_term, "max_term")
        self._owner = owner

    def candidacy(self, wait: Seconds | None) -> _native.Candidacy:
        """As `Ask.wish`."""
        return _native.Candidacy(
            wait_ms=wait_ms(self._wait if wait is None else wait),
            max_term_ms=self._max_term,
            owner=self._owner or actor_name(),
        )


_Lock = TypeVar("_Lock")
_RwLock = TypeVar("_RwLock")
_Once = TypeVar("_Once")
_Register = TypeVar("_Register")
_Leader = TypeVar("_Leader")


class Requests(Generic[_Lock, _RwLock, _Once, _Register, _Leader]):
    """What both clients can be asked for."""

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        app: str | None = None,
        default_wait: Seconds | None = None,
        require_scope: Scope | None = None,
    ) -> None:
        """A client of the sidecar on this host. It connects when it is first used, and comes back by itself when the sidecar
        restarts. All threads and tasks of a process can share it; a forked child gets a connection of its own.

        `socket`: the path of the sidecar's socket; else `SIDELOCK_SOCKET`, then the usual places.
        `app`: what this program calls itself, for people who ask who holds a lock; else the script's name.
        `default_wait`: seconds that requests wait which do not say; else without end.
        `require_scope`: refuses a sidecar whose locks reach less far; else what `SIDELOCK_REQUIRE_SCOPE` says.
        """
        self._losses = Losses()
        self._use(_native.Client(_options(socket, app, default_wait, require_scope), self._losses))

    @classmethod
    def embedded(cls, default_wait: Seconds | None = None) -> Self:
        """A client with a sidecar of its own inside this process, on the memory store: for tests of your code. Its locks reach
        the threads and tasks of this process that use this client."""
        client = cls.__new__(cls)
        client._losses = Losses()
        client._use(_native.Client.embedded(_options(None, None, default_wait, None), client._losses))
        return client

    def _use(self, native: _native.Client) -> None:
        self._native = native
        self._share = _plain.ClientShare()
        _plain.share_client(native.address(), self._share)

    def _end(self) -> None:
        with suppress(ReferenceError):
            self._native.close()

    def lock(self, key: str, *, wait: Seconds | None = None, **options: Unpack[LeaseOptions]) -> _Lock:
        """The lock `key`: 1 to 512 bytes of UTF-8, `/`-separated by convention.

        `wait`: seconds to wait at most; else the client's `default_wait`; `math.inf` waits without end.
        """
        return self._lock(Ask([key], _EXCLUSIVE, wait, options))

    def semaphore(
        self,
        key: str,
        limit: int,
        permits: int = 1,
        *,
        wait: Seconds | None = None,
        **options: Unpack[LeaseOptions],
    ) -> _Lock:
        """`permits` of the semaphore `key`, which has `limit` of them. All who use it at a time agree on the limit."""
        return self._lock(Ask([key], (_plain.PERMITS, permits, limit, 0), wait, options))

    def rate(
        self,
        key: str,
        limit: int,
        per: Seconds,
        permits: int = 1,
        *,
        wait: Seconds | None = None,
        **options: Unpack[LeaseOptions],
    ) -> _Lock:
        """`permits` of a rate: at most `limit` in any window of `per` seconds, whoever asks. A permit comes back that long
        after its grant, whatever becomes of its lease. Nothing is told of that: a block that takes longer goes on, and
        `lost` is not set."""
        return self._lock(Ask([key], (_plain.RATE, permits, limit, to_ms(per, "per")), wait, options))

    def rwlock(self, key: str, *, wait: Seconds | None = None, **options: Unpack[LeaseOptions]) -> _RwLock:
        """The readers/writer lock `key`: many readers or one writer. `lock` on the same key is its writer."""
        return self._rwlock(Ask([key], _SHARED, wait, options), Ask([key], _EXCLUSIVE, wait, options))

    def lock_all(
        self,
        keys: Iterable[str],
        *,
        shared: bool = False,
        wait: Seconds | None = None,
        **options: Unpack[LeaseOptions],
    ) -> _Lock:
        """The locks of all these keys, all or nothing, in any order. Nobody who asks for several keys in this way waits for
        another who does for ever. As soon as one of them is lost all are."""
        return self._lock(Ask(list(keys), _SHARED if shared else _EXCLUSIVE, wait, options))

    def once(
        self,
        key: str,
        per: Seconds,
        *,
        align: Literal["rolling", "utc"] = "rolling",
        wait: Seconds | None = None,
        **options: Unpack[TurnOptions],
    ) -> _Once:
        """What is to be done once per window of `per` seconds, under the name `key`.

        Whoever comes first is given the turn; the others wait for it, and get its result when it is finished, as does
        everybody who comes before the window ends. Promised is at most one *successful finish* per window: a body may run
        again if its runner dies, loses its lease, or fails.

        `align`: the window begins with the grant of the turn that succeeds, or is one of those that follow each other since
        1970 (`utc`: a day ends at midnight UTC).
        """
        return self._once(TurnAsk(key, per, align, wait, options))

    def register(self, key: str) -> _Register:
        """The register `key`: a value of up to 64 KiB with a version, in a name space of its own."""
        return self._register(self._native.register(key))

    def leader(
        self,
        name: str,
        *,
        wait: Seconds | None = None,
        max_term: Seconds | None = None,
        owner: str | None = None,
    ) -> _Leader:
        """The election of who leads `name`: its lock is `leader/NAME`.

        `wait`: seconds to campaign at most; else the client's `default_wait`. `max_term`: leads for so long at most, so that the
        turn goes round.
        """
        return self._leader(Candidate(self._native.leader(name), name, wait, max_term, owner))

    def _lock(self, ask: Ask) -> _Lock:
        raise NotImplementedError

    def _rwlock(self, read: Ask, write: Ask) -> _RwLock:
        raise NotImplementedError

    def _once(self, ask: TurnAsk) -> _Once:
        raise NotImplementedError

    def _register(self, native: _native.Register) -> _Register:
        raise NotImplementedError

    def _leader(self, candidate: Candidate) -> _Leader:
        raise NotImplementedError


def _options(
    socket: str | os.PathLike[str] | None,
    app: str | None,
    default_wait: Seconds | None,
    require_scope: Scope | None,
) -> _native.Options:
    return _native.Options(
        socket=None if socket is None else os.fspath(socket),
        app=_script() if app is None else app,
        default_wait_ms=None if default_wait is None else to_ms(default_wait, "default_wait"),
        require_scope=None if require_scope is None else _SCOPES[require_scope],
    )


def _script() -> str:
    """What a person would call the running program: the script, or the package that was run by `-m`."""
    path = sys.argv[0] if sys.argv else ""
    folder, name = os.path.split(path)
    if name == "__main__.py":
        name = os.path.basename(folder)
    return name if name not in ("", "-c", "-m") else "python"
