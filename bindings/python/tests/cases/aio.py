"""The player for asyncio programs: an actor is a task.

`bindings/cases/README.md` describes what it is told and what it answers.
"""

from __future__ import annotations

import asyncio
import sys

import sidelock
from orders import Order, client_options, once, request, say_error, say_lease, say_value, several
from sidelock import aio

_clients: dict[str, aio.Client] = {}
_actors: dict[str, Actor] = {}


class Actor:
    """One order after the other, in a task of its own."""

    def __init__(self, client: aio.Client | None = None) -> None:
        self.inbox: asyncio.Queue[Order] = asyncio.Queue()
        self._client = client
        self._held: dict[str, aio.Lease | aio.Turn] = {}
        self._busy = False
        self._cancelled = False
        self._task = asyncio.create_task(self._live())

    def cancel(self) -> None:
        """What it waits for is not wanted any more; if it has not begun yet, as soon as it has."""
        if not self._busy:
            asyncio.get_running_loop().call_soon(self.cancel)
            return
        self._cancelled = True
        self._task.cancel()

    async def _live(self) -> None:
        while True:
            self._busy = False
            order = await self.inbox.get()
            self._busy = True
            try:
                await getattr(self, f"_{order.verb}")(order)
            except sidelock.SidelockError as error:
                say_error(order, error)
            except asyncio.CancelledError:
                if not self._cancelled:
                    raise
                self._cancelled = False
                self._task.uncancel()
                order.say("cancelled")
            if order.verb == "owner":
                with sidelock.owner(order.text("owner")):
                    return await self._live()
            if order.verb == "close":
                return None

    @property
    def client(self) -> aio.Client:
        assert self._client is not None, "the driver connects first"
        return self._client

    async def _connect(self, order: Order) -> None:
        name = order.text("client")
        client = _clients.get(name) or aio.Client(**client_options(order))
        await client.sidecar()
        self._client = _clients[name] = client
        order.say("ok")

    async def _close(self, order: Order) -> None:
        self._held.clear()
        self._client = None
        _clients.clear()
        order.say("ok")

    async def _owner(self, order: Order) -> None:
        order.say("ok")

    async def _spawn(self, order: Order) -> None:
        _actors[order.text("child")] = Actor(self._client)
        order.say("ok")

    def _keep(self, order: Order, lease: aio.Lease | None) -> None:
        if lease is None:
            return order.say("none")
        self._held[order.text("as")] = lease
        return say_lease(order, lease)

    async def _acquire(self, order: Order) -> None:
        self._keep(order, await request(self.client, order).acquire())

    async def _try(self, order: Order) -> None:
        self._keep(order, await request(self.client, order).try_acquire(order.span("wait") or 0))

    async def _lock_all(self, order: Order) -> None:
        self._keep(order, await several(self.client, order).acquire())

    async def _try_all(self, order: Order) -> None:
        self._keep(order, await several(self.client, order).try_acquire(order.span("wait") or 0))

    async def _run(self, order: Order) -> None:
        async with request(self.client, order):
            await asyncio.get_running_loop().create_future()

    def _enter(self, order: Order, turn: aio.Turn | None) -> None:
        if turn is None:
            order.say("none")
        elif turn.won:
            assert turn.lease is not None
            self._held[order.text("as")] = turn
            order.say("turn", fence=turn.lease.fence)
        else:
            order.say("done", result=turn.result)

    async def _once(self, order: Order) -> None:
        self._enter(order, await once(self.client, order).enter())

    async def _try_once(self, order: Order) -> None:
        self._enter(order, await once(self.client, order).try_enter(order.span("wait") or 0))

    async def _finish(self, order: Order) -> None:
        turn = self._held[order.text("lease")]
        assert isinstance(turn, aio.Turn)
        await turn.finish(order.text("result").encode())
        order.say("ok")

    async def _release(self, order: Order) -> None:
        held = self._held.pop(order.text("lease"))
        await (held.give_back() if isinstance(held, aio.Turn) else held.release())
        order.say("ok")

    async def _drop(self, order: Order) -> None:
        del self._held[order.text("lease")]
        order.say("ok")

    async def _storm(self, order: Order) -> None:
        asking = request(self.client, order)
        waits = [asyncio.create_task(asking.acquire()) for _ in range(int(order.text("times")))]
        await asyncio.sleep(0)
        for wait in waits:
            wait.cancel()
        ended = await asyncio.gather(*waits, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), "nobody else lets go of the key"
        order.say("ok")

    async def _upgrade(self, order: Order) -> None:
        lease = self._lease(order)
        await lease.upgrade(order.span("wait"))
        del self._held[order.text("lease")]
        self._keep(order, lease)

    async def _downgrade(self, order: Order) -> None:
        await self._lease(order).downgrade()
        order.say("ok")

    def _lease(self, order: Order, name: str = "lease") -> aio.Lease:
        held = self._held[order.text(name)]
        lease = held.lease if isinstance(held, aio.Turn) else held
        assert lease is not None
        return lease

    async def _renew(self, order: Order) -> None:
        await self._lease(order).renew(order.span("ttl") or 0)
        order.say("ok")

    async def _valid(self, order: Order) -> None:
        order.say("yes" if self._lease(order).is_valid() else "no")

    async def _lost(self, order: Order) -> None:
        lost = self._lease(order).lost
        await lost.wait()
        order.say("lost", reason=lost.reason)

    def _fenced(self, order: Order) -> aio.Lease | None:
        return self._lease(order, "fenced") if "fenced" in order else None

    async def _get(self, order: Order) -> None:
        say_value(order, await self.client.register(order.text("key")).get(lease=self._fenced(order)))

    async def _put(self, order: Order) -> None:
        etag = await self.client.register(order.text("key")).put(
            order.text("value").encode(),
            if_match=order.maybe("if_match"),
            if_absent="if_absent" in order,
            lease=self._fenced(order),
        )
        order.say("etag", etag=etag)

    async def _delete(self, order: Order) -> None:
        register = self.client.register(order.text("key"))
        await register.delete(if_match=order.maybe("if_match"), lease=self._fenced(order))
        order.say("ok")

    async def _watch(self, order: Order) -> None:
        after = order.maybe("after")
        watch = self.client.register(order.text("key")).watch(None if after == "absent" else after)
        found = await anext(watch)
        if after == "absent" and found is None:
            # What a watch told first is what it goes on after.
            found = await anext(watch)
        say_value(order, found)


async def main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = Order(line.decode())
        if order.actor not in _actors:
            _actors[order.actor] = Actor()
        if order.verb == "cancel":
            _actors[order.actor].cancel()
            continue
        _actors[order.actor].inbox.put_nowait(order)
        if order.verb == "close":
            # Its task is kept until it has answered.
            _leaving.append(_actors.pop(order.actor))


_leaving: list[Actor] = []

if __name__ == "__main__":
    asyncio.run(main())
