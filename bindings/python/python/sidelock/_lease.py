"""Leases and turns, in the hands of programs that block.

Owns what their holder may do, and what leaving a `with` block means for them.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType
from typing import Self, TypeAlias

from . import _native, _plain
from ._calls import blocking, release
from ._errors import Conflict, Invalid, LeaseLost, OutcomeUnknown, SidecarUnreachable, SidelockError
from ._losses import Losses
from ._plain import LeaseShare, share_lease
from ._span import Seconds, to_ms, wait_ms

_log = logging.getLogger("sidelock")
_NativeLease: TypeAlias = _native.Lease


class BaseLease:
    """What can be seen of a lease without asking anybody."""

    __slots__ = ("__weakref__", "_losses", "_object", "_share", "key")

    def __init__(self, share: LeaseShare, key: str, losses: Losses) -> None:
        self._share = share
        self._object: _NativeLease | None = None
        self._losses = losses
        self.key = key
        """What is locked; of several keys all, with commas between."""

    @property
    def _native(self) -> _NativeLease:
        """What the generated code knows it by: for what is done rarely."""
        if self._object is None:
            self._object = _native.lease_of(self._share.value)
        if self._object is None:
            raise ReferenceError(f"the lease of {self.key!r} was collected")
        return self._object

    @property
    def fence(self) -> int:
        """The fence token: strictly rising per key, below 2**53. Send it along with every write to what the lock protects, and
        let the receiver refuse a lower one than it has seen: that holds even while a process is paused beyond its lease.
        Of several keys: that of the first in the order of their bytes; see `fences`."""
        fence: int = _plain.fence(self._share)
        return fence

    @property
    def fences(self) -> dict[str, int]:
        """The fence token of each key."""
        return {fence.key: fence.fence for fence in self._native.fences()}

    @property
    def deadline(self) -> float:
        """When it ends unless extended, as told last: seconds of `time.clock_gettime(time.CLOCK_BOOTTIME)`."""
        return self._native.deadline_ns() / 1e9

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 once it has passed."""
        return max(0.0, self.deadline - time.clock_gettime(time.CLOCK_BOOTTIME))

    def is_valid(self) -> bool:
        """Whether it is still yours, by a look at the clock, without asking anybody. False in a forked child."""
        return bool(_plain.is_valid(self._share))

    def is_at_risk(self) -> bool:
        """Whether the sidecar fails to extend it at the moment: it will be lost at its deadline unless that succeeds."""
        return self._native.is_at_risk()

    def __repr__(self) -> str:
        state = "valid" if self.is_valid() else "over"
        return f"<{type(self).__module__}.{type(self).__name__} of {self.key!r}, fence {self.fence}, {state}>"


class Loss(threading.Event):
    """Set when a lease is lost; `reason` then says why, as in `LeaseLost`."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: str | None = None


class Lease(BaseLease):
    """A lease: what you hold. Released on leaving its `with` block, or with its last reference.

    Leaving the block raises `LeaseLost` if it was lost meanwhile and nothing else was raised: what was done in the block may
    have been done beside somebody else. What can not stop by itself looks at `is_valid()` or waits for `lost`.
    """

    __slots__ = ("_callbacks", "_loss")

    def __init__(self, share: LeaseShare, key: str, losses: Losses) -> None:
        super().__init__(share, key, losses)
        self._loss: Loss | None = None
        self._callbacks: list[Callable[[LeaseLost], None]] = []

    def renew(self, ttl: Seconds) -> None:
        """Makes it last for `ttl` seconds from now: for leases acquired with a `ttl`, which nothing else renews.
        Of a lease that its owner entered again it moves the end of all handles.

        Raises `LeaseLost` if it is gone, `Invalid` if it was acquired without a `ttl`.
        """
        blocking(self._native.renew_blocking, to_ms(ttl, "ttl"))

    def upgrade(self, wait: Seconds | None = None) -> None:
        """Makes a share all of the key, once nobody else has one: before all who wait, and nobody comes in between. Waits `wait`
        seconds at most; without that as the client does. Until then, and if it comes to nothing, the share stands. Afterwards
        `fence` is another one.

        Raises `WaitTimeout`, `Deadlock` if another share is being upgraded (release this one), `LeaseLost` if it is gone,
        `Conflict` if it is no share.
        """
        native, fence = self._native, self.fence
        try:
            blocking(native.upgrade_blocking, wait_ms(wait))
        except BaseException:
            # A signal's handler may have thrown when it was granted.
            native.undo_upgrade(fence)
            raise

    def downgrade(self) -> None:
        """Lets readers in beside it: a share from now on, without anybody coming in between. The fence stays.

        Raises `LeaseLost` if it is gone, `Conflict` if it is permits.
        """
        blocking(self._native.downgrade_blocking)

    def release(self) -> None:
        """Gives it back; returns when others can have it. Doing it again does nothing.

        Raises `LeaseLost` if it was lost before. `OutcomeUnknown` if the connection broke: it is then free when its deadline
        passes, at the latest.
        """
        release(self._share)

    @property
    def lost(self) -> Loss:
        """An event that is set when it is lost: `lease.lost.wait(1.0)`, `lease.lost.is_set()`."""
        with _watching:
            if self._loss is None:
                self._loss = Loss()
                self._losses.watch(self._native, self)
            return self._loss

    def on_lost(self, callback: Callable[[LeaseLost], None]) -> None:
        """Calls `callback` when it is lost, on a thread of Sidelock's, which may use locks and may block; at once if it is lost
        already. Never if it is released."""
        loss = self.lost
        with _watching:
            if not loss.is_set():
                self._callbacks.append(callback)
                return
        callback(self._loss_error())

    def _lose(self, reason: str) -> None:
        loss = self.lost
        with _watching:
            loss.reason = reason
            loss.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback(self._loss_error())
            except Exception:
                _log.exception("a callback for the loss of %r failed", self.key)

    def _loss_error(self) -> LeaseLost:
        reason = self.lost.reason or "other"
        return LeaseLost(f"the lease of {self.key!r} is lost ({reason})", key=self.key, reason=reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except (OutcomeUnknown, SidecarUnreachable):
            # It was valid while the block ran, and runs out by itself.
            pass
        except SidelockError:
            if kind is None:
                raise


# Losses are rare: one lock for all leases is as good as one each.
_watching = threading.RLock()


def _fresh_lock() -> None:
    """A forked child has no other thread that could give the lock back."""
    global _watching
    _watching = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


class BaseTurn:
    """What entering a once key came to."""

    __slots__ = ("_native", "finished_at", "result", "won")

    def __init__(self, entered: _native.Entered) -> None:
        self._native: _native.Turn | None = None
        self.won = False
        """Whether the turn is ours: do it, and `finish`. Else somebody did it, and left `result`."""
        self.result: bytes | None = None
        """What the turn that succeeded left; of ours, once it is finished."""
        self.finished_at: datetime | None = None
        """When somebody else's turn was finished, by the store's clock."""
        if isinstance(entered, _native.Entered.WON):
            self._native = entered.turn
            self.won = True
        elif isinstance(entered, _native.Entered.DONE):
            self.result = entered.result
            self.finished_at = datetime.fromtimestamp(entered.finished_at_ms / 1000, timezone.utc)

    def _take(self) -> _native.Turn | None:
        native, self._native = self._native, None
        return native

    def _take_to_finish(self) -> _native.Turn:
        native = self._take()
        if native is not None:
            return native
        if self.won:
            raise Conflict("the turn was finished or given back; enter again", code="turn_closed")
        raise Invalid("the turn was not won: somebody did it, and left a result", code="bad_request")


class Turn(BaseTurn):
    """The turn of a once key, or what somebody else's turn left.

    Leaving its `with` block finishes it with `b""`, unless it was finished in the block; an exception gives it back, and the
    next who waits has it.
    """

    __slots__ = ("lease",)

    def __init__(self, entered: _native.Entered, key: str, losses: Losses) -> None:
        super().__init__(entered)
        self.lease: Lease | None = None
        """The lease that a won turn is; `None` if it was not won."""
        if self._native is not None:
            self.lease = Lease(share_lease(self._native.lease()), key, losses)

    def finish(self, result: bytes = b"") -> None:
        """It is done: nobody runs again before the window ends, and `result`, at most 64 KiB, is what the others get.

        Raises `LeaseLost`: it was not counted, somebody else may run. `OutcomeUnknown`: it was counted or not. `Conflict`: the
        turn is over. `Invalid`: it was not won.
        """
        to_leave = bytes(memoryview(result))
        blocking(self._take_to_finish().finish_blocking, to_leave)
        self.result = to_leave

    def give_back(self) -> None:
        """Gives it back undone. Nothing happens if it is over."""
        if self._take() is not None and self.lease is not None:
            self.lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            if self._native is not None:
                self.finish()
            return
        # Also of a turn whose finish was interrupted before it was sent.
        self._take()
        try:
            if self.lease is not None:
                self.lease.release()
        except SidelockError:
            # The exception on its way is the one to hear of; the turn is given back or runs out.
            pass
