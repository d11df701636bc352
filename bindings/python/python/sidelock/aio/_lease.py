"""Leases and turns, in the hands of asyncio programs.

Owns the guard around a body: the task that runs it is cancelled when its lease is lost, and the cancellation becomes
`LeaseLost` where the block is left. It follows `asyncio.timeout`, so the two nest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from .. import _native
from .._errors import LeaseLost, OutcomeUnknown, SidecarUnreachable, SidelockError
from .._lease import BaseLease, BaseTurn
from .._losses import Losses
from .._plain import LeaseShare, begin_release, share_lease
from .._span import Seconds, to_ms, wait_ms
from ._calls import call, run

_log = logging.getLogger("sidelock")


class Loss(asyncio.Event):
    """Set when a lease is lost; `reason` then says why, as in `LeaseLost`."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: str | None = None


class _Guard:
    """A body that runs under a lease: the task that is to be cancelled, once."""

    __slots__ = ("_cancelled", "_requests_before", "_task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self._requests_before = task.cancelling()
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._task.cancel()

    def was_the_reason(self, kind: type[BaseException] | None) -> bool:
        """Whether what leaves the block is this guard's cancellation, and nobody else's. Takes it back.

        A generator that was abandoned is closed by another task, which nobody cancelled.
        """
        if not self._cancelled or asyncio.current_task() is not self._task:
            return False
        return self._task.uncancel() <= self._requests_before and kind is asyncio.CancelledError


class Lease(BaseLease):
    """A lease: what you hold. Released on leaving its `async with` block, or with its last reference.

    If it is lost, the task that runs the block is cancelled, and leaving the block raises `LeaseLost`.
    """

    __slots__ = ("_callbacks", "_guard", "_loop", "_loss")

    def __init__(self, share: LeaseShare, key: str, losses: Losses) -> None:
        super().__init__(share, key, losses)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loss: Loss | None = None
        self._guard: _Guard | None = None
        self._callbacks: list[Callable[[LeaseLost], None]] = []

    async def renew(self, ttl: Seconds) -> None:
        """Makes it last for `ttl` seconds from now: for leases acquired with a `ttl`, which nothing else renews.

        Raises `LeaseLost` if it is gone, `Invalid` if it was acquired without a `ttl`.
        """
        await call(self._native.renew(to_ms(ttl, "ttl"), None))

    async def upgrade(self, wait: Seconds | None = None) -> None:
        """Makes a share all of the key, once nobody else has one: before all who wait, and nobody comes in between. Waits `wait`
        seconds at most; without that as the client does. Until then, if it comes to nothing, and if the task is cancelled, the
        share stands. Afterwards `fence` is another one.

        Raises `WaitTimeout`, `Deadlock` if another share is being upgraded (release this one), `LeaseLost` if it is gone,
        `Conflict` if it is no share.
        """
        native, fence = self._native, self.fence
        try:
            await call(native.upgrade(wait_ms(wait), None))
        except BaseException:
            # The task may have been cancelled when it was granted.
            native.undo_upgrade(fence)
            raise

    async def downgrade(self) -> None:
        """Lets readers in beside it: a share from now on, without anybody coming in between. The fence stays.

        Raises `LeaseLost` if it is gone, `Conflict` if it is permits.
        """
        await call(self._native.downgrade(None))

    async def release(self) -> None:
        """Gives it back; returns when others can have it. Doing it again does nothing. Cancelling the task does not stop it:
        it has left by then.

        Raises `LeaseLost` if it was lost before. `OutcomeUnknown` if the connection broke: it is then free when its deadline
        passes, at the latest.
        """
        await run(begin_release, self._share)

    @property
    def lost(self) -> Loss:
        """An event that is set when it is lost: `await lease.lost.wait()`, `lease.lost.is_set()`."""
        return self._watched()

    def _watched(self) -> Loss:
        if self._loss is None:
            self._loss = Loss()
            self._loop = asyncio.get_running_loop()
            self._losses.watch(self._native, self)
        return self._loss

    def on_lost(self, callback: Callable[[LeaseLost], None]) -> None:
        """Calls `callback` on the event loop when it is lost; at once if it is lost already. Never if it is released."""
        if self.lost.is_set():
            callback(self._loss_error())
        else:
            self._callbacks.append(callback)

    def _lose(self, reason: str) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._lose_here, reason)
        except RuntimeError:
            # The loop is closed, and the tasks with it.
            pass

    def _lose_here(self, reason: str) -> None:
        loss = self.lost
        loss.reason = reason
        loss.set()
        if self._guard is not None:
            self._guard.cancel()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback(self._loss_error())
            except Exception:
                _log.exception("a callback for the loss of %r failed", self.key)

    def _loss_error(self) -> LeaseLost:
        reason = self.lost.reason or "other"
        return LeaseLost(
            f"the lease of {self.key!r} is lost ({reason}): stop what it protected, acquire again to go on",
            key=self.key,
            reason=reason,
        )

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lease guards a block that runs in a task")
        if self._loss is not None and self._loss.is_set():
            raise self._loss_error()
        self._guard = _Guard(task)
        # Not at once: a block that ends before it waits for anything can not be cancelled, and needs no watch.
        asyncio.get_running_loop().call_soon(self._watch_block)
        return self

    def _watch_block(self) -> None:
        if self._guard is not None:
            self._watched()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._leave(kind):
            # The sidecar may go on extending what only this client's clock ended.
            with suppress(SidelockError):
                await self.release()
            raise self._loss_error() from error
        try:
            await self.release()
        except (OutcomeUnknown, SidecarUnreachable):
            # It was valid while the block ran, and runs out by itself.
            pass
        except SidelockError:
            if kind is None:
                raise

    def _leave(self, kind: type[BaseException] | None) -> bool:
        """The body is over; whether that is because of a loss."""
        guard, self._guard = self._guard, None
        return guard is not None and guard.was_the_reason(kind)


class Turn(BaseTurn):
    """The turn of a once key, or what somebody else's turn left.

    Leaving its `async with` block finishes it with `b""`, unless it was finished in the block; an exception gives it back, and
    the next who waits has it. If it is lost, the task that runs the block is cancelled, and leaving it raises `LeaseLost`.
    """

    __slots__ = ("lease",)

    def __init__(self, entered: _native.Entered, key: str, losses: Losses) -> None:
        super().__init__(entered)
        self.lease: Lease | None = None
        """The lease that a won turn is; `None` if it was not won."""
        if self._native is not None:
            self.lease = Lease(share_lease(self._native.lease()), key, losses)

    async def finish(self, result: bytes = b"") -> None:
        """It is done: nobody runs again before the window ends, and `result`, at most 64 KiB, is what the others get.

        Raises `LeaseLost`: it was not counted, somebody else may run. `OutcomeUnknown`: it was counted or not. `Conflict`: the
        turn is over. `Invalid`: it was not won.
        """
        to_leave = bytes(memoryview(result))
        await call(self._take_to_finish().finish(to_leave, None))
        self.result = to_leave

    async def give_back(self) -> None:
        """Gives it back undone. Nothing happens if it is over."""
        if self._take() is not None and self.lease is not None:
            await self.lease.release()

    async def __aenter__(self) -> Self:
        if self.lease is not None:
            await self.lease.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.lease is not None and self.lease._leave(kind):
            with suppress(SidelockError):
                await self.lease.release()
            raise self.lease._loss_error() from error
        if kind is None:
            if self._native is not None:
                await self.finish()
            return
        # Also of a turn whose finish was interrupted before it was sent.
        self._take()
        try:
            if self.lease is not None:
                await self.lease.release()
        except SidelockError:
            # The exception on its way is the one to hear of; the turn is given back or runs out.
            pass
