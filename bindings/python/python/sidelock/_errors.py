"""What can go wrong, as Python exceptions.

Owns the classes, and the one place where the native failures become them. Each message says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from . import _native

# The generator gives a failure its variants in a way that type checkers do not follow.
failures: Any = _native.Failure


class Versioned(NamedTuple):
    """What a register holds: the bytes, and their version, which no other value of the register ever has."""

    value: bytes
    etag: str


@dataclass(frozen=True)
class Waiting:
    """One wait of a deadlock; the owner of the next one is in its way."""

    key: str
    """What is waited for."""
    mode: str
    """How much of it: `exclusive`, `shared` or `permits`."""
    owner: str
    """Who waits."""
    app: str
    """What its program calls itself."""
    waiting_for: float
    """For how long, in seconds."""
    held_for: float | None
    """For how long the next owner has held the key, in seconds; `None`: it waits for the key too, further ahead."""


class SidelockError(Exception):
    """Whatever Sidelock says no with. `code` is its name in every language and in HTTP, such as `wait_timeout`."""

    def __init__(self, message: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class LockError(SidelockError):
    """A lock could not be had, or is no longer held. `key` is the lock's; of several keys all, with commas between."""

    def __init__(self, message: str = "", *, code: str = "", key: str = "") -> None:
        super().__init__(message, code=code)
        self.key = key


class WaitTimeout(LockError, TimeoutError):
    """Somebody else holds it, and the wait is over. `retry_after`: seconds until it may be had, if that is known."""

    def __init__(
        self, message: str = "", *, code: str = "", key: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, code=code, key=key)
        self.retry_after = retry_after


class QueueFull(LockError):
    """Too many wait or are held already: back off, for `retry_after` seconds if that is known. `limit`: how many may, if it is
    about a number."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "",
        key: str = "",
        retry_after: float | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message, code=code, key=key)
        self.retry_after = retry_after
        self.limit = limit


class Deadlock(LockError):
    """This owner waited in a circle: release what it holds and start over. `cycle`: who waits for whom, all the way round."""

    def __init__(
        self, message: str = "", *, code: str = "deadlock", key: str = "", cycle: tuple[Waiting, ...] = ()
    ) -> None:
        super().__init__(message, code=code, key=key)
        self.cycle = cycle


class LeaseLost(LockError):
    """The lease is gone: stop what it protected. `reason`: `expired` (its ttl), `max_hold`, `store`, `session`, `forced` (by an
    operator), `sidecar_restarted` or `other`."""

    def __init__(
        self, message: str = "", *, code: str = "lease_lost", key: str = "", reason: str = "other"
    ) -> None:
        super().__init__(message, code=code, key=key)
        self.reason = reason


class Denied(LockError):
    """A policy of the sidecar said no; the message says why. `policy`: its name; `reason_code`: why, as a word of its choice;
    `retry_after`: seconds until it may say yes, if it knows."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "denied",
        key: str = "",
        policy: str = "",
        reason_code: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, code=code, key=key)
        self.policy = policy
        self.reason_code = reason_code
        self.retry_after = retry_after


class NotHeld(LockError):
    """The lease is somebody else's."""


class Conflict(SidelockError):
    """What is there does not fit: another version of a register (`current` is what it holds, `None`: nothing), another limit
    of a semaphore (`limit` is the one in force, `None`: it is a lock), a turn that is closed."""

    def __init__(
        self,
        message: str = "",
        *,
        code: str = "conflict",
        key: str = "",
        current: Versioned | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.key = key
        self.current = current
        self.limit = limit


class NotFound(SidelockError):
    """The register has no value, or there is no such lease."""


class Invalid(SidelockError, ValueError):
    """The request can not be right, whatever the state: correct it. `limit`: what is allowed at most, if it is about that."""

    def __init__(self, message: str = "", *, code: str = "bad_request", limit: int | None = None) -> None:
        super().__init__(message, code=code)
        self.limit = limit


class StoreUnavailable(SidelockError, ConnectionError):
    """The sidecar is there; its store is away, or it is going. Try again, after `retry_after` seconds if that is known."""

    def __init__(self, message: str = "", *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class SidecarUnreachable(SidelockError, ConnectionError):
    """There is no sidecar to talk to; the message lists where was looked."""


class OutcomeUnknown(SidelockError):
    """The connection ended before the answer came: it was done or not. Look at the state before you repeat it."""


class Internal(SidelockError):
    """A bug in Sidelock."""


class Stopped(Exception):
    """A native call ended because its caller wanted that. Never seen by users."""


def translate(failure: Any) -> Exception:
    """The exception that a native failure is for users."""
    match failure:
        case failures.Busy():
            return _busy(failure)
        case failures.Refused():
            return _refused(failure)
        case failures.Deadlock():
            return Deadlock(failure.text, key=failure.key, cycle=tuple(_waiting(edge) for edge in failure.cycle))
        case failures.LeaseLost():
            return LeaseLost(failure.text, key=failure.key, reason=reason_name(failure.reason))
        case failures.Conflict():
            current = failure.current
            held = None if current is None else Versioned(current.value, current.etag)
            return Conflict(
                failure.text, code=failure.code, key=failure.key, current=held, limit=failure.limit
            )
        case failures.Unreachable():
            return SidecarUnreachable(failure.text, code=failure.code or "unreachable")
        case failures.OutcomeUnknown():
            return OutcomeUnknown(failure.text, code="outcome_unknown")
        case _:
            return Stopped()


def reason_name(reason: _native.LossReason) -> str:
    """The name of a reason, as in every language and protocol."""
    return str(reason.name).lower()


def _busy(failure: Any) -> SidelockError:
    text, code, key, after = failure.text, failure.code, failure.key, _after(failure)
    match failure.kind:
        case _native.Busy.WAIT_TIMEOUT:
            return WaitTimeout(text, code=code, key=key, retry_after=after)
        case _native.Busy.QUEUE_FULL:
            return QueueFull(text, code=code, key=key, retry_after=after, limit=failure.limit)
        case _:
            return StoreUnavailable(text, code=code, retry_after=after)


def _refused(failure: Any) -> SidelockError:
    text, code, key = failure.text, failure.code, failure.key
    match failure.kind:
        case _native.Refusal.DENIED:
            return _denied(failure)
        case _native.Refusal.NOT_HELD:
            return NotHeld(text, code=code, key=key)
        case _native.Refusal.NOT_FOUND:
            return NotFound(text, code=code)
        case _native.Refusal.INVALID:
            return Invalid(text, code=code, limit=failure.limit)
        case _:
            return Internal(text, code=code)


def _denied(failure: Any) -> Denied:
    denial = failure.denial
    policy, reason_code = ("", "") if denial is None else (denial.policy, denial.reason_code)
    return Denied(
        failure.text,
        code=failure.code,
        key=failure.key,
        policy=policy,
        reason_code=reason_code,
        retry_after=_after(failure),
    )


def _after(failure: Any) -> float | None:
    return None if failure.retry_after_ms is None else failure.retry_after_ms / 1000


def _waiting(edge: _native.CycleEdge) -> Waiting:
    held_for = None if edge.held_for_ms is None else edge.held_for_ms / 1000
    return Waiting(edge.key, edge.mode, edge.owner, edge.app, edge.waiting_for_ms / 1000, held_for)
