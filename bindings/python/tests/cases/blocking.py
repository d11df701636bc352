"""The player for Python programs that block: an actor is a thread.

`bindings/cases/README.md` describes what it is told and what it answers. A call that blocks a thread is given up from another
one by closing its client: so that is what `cancel` and a storm's end are here, and an actor that was cancelled goes on with a
new client. (What a signal does to a call is tested in `test_trouble.py`.)
"""

from __future__ import annotations

import contextvars
import queue
import sys
import threading

import sidelock
from orders import Order, client_options, once, request, say_error, say_lease, say_value, several

_clients: dict[str, sidelock.Client] = {}
_actors: dict[str, Actor] = {}


class Actor:
    """One order after the other, on a thread of its own."""

    def __init__(self, client: sidelock.Client | None = None) -> None:
        self.inbox: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._client = client
        self._connected_by: Order | None = None
        self._cancelled = False
        self._held: dict[str, sidelock.Lease | sidelock.Turn] = {}
        # A thread that took over its creator's context would still be somebody else.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._live,), daemon=True).start()

    def cancel(self) -> None:
        """What it waits for is not wanted any more."""
        assert not self._held, "closing the client would take these, too"
        self._cancelled = True
        self.client.close()

    def _live(self) -> None:
        while True:
            order = self.inbox.get()
            try:
                getattr(self, f"_{order.verb}")(order)
            except sidelock.SidelockError as error:
                if self._cancelled:
                    assert isinstance(error, sidelock.Invalid), error
                    self._go_on(order)
                else:
                    say_error(order, error)
            if order.verb == "owner":
                with sidelock.owner(order.text("owner")):
                    return self._live()
            if order.verb == "close":
                return None

    def _go_on(self, order: Order) -> None:
        assert self._connected_by is not None
        self._client = sidelock.Client(**client_options(self._connected_by))
        self._cancelled = False
        order.say("cancelled")

    @property
    def client(self) -> sidelock.Client:
        assert self._client is not None, "the driver connects first"
        return self._client

    def _connect(self, order: Order) -> None:
        name = order.text("client")
        client = _clients.get(name) or sidelock.Client(**client_options(order))
        client.sidecar()
        self._client = _clients[name] = client
        self._connected_by = order
        order.say("ok")

    def _close(self, order: Order) -> None:
        self._held.clear()
        self._client = None
        _clients.clear()
        order.say("ok")

    def _owner(self, order: Order) -> None:
        order.say("ok")

    def _spawn(self, order: Order) -> None:
        _actors[order.text("child")] = Actor(self._client)
        order.say("ok")

    def _keep(self, order: Order, lease: sidelock.Lease | None) -> None:
        if lease is None:
            return order.say("none")
        self._held[order.text("as")] = lease
        return say_lease(order, lease)

    def _acquire(self, order: Order) -> None:
        self._keep(order, request(self.client, order).acquire())

    def _try(self, order: Order) -> None:
        self._keep(order, request(self.client, order).try_acquire(order.span("wait") or 0))

    def _lock_all(self, order: Order) -> None:
        self._keep(order, several(self.client, order).acquire())

    def _try_all(self, order: Order) -> None:
        self._keep(order, several(self.client, order).try_acquire(order.span("wait") or 0))

    def _run(self, order: Order) -> None:
        with request(self.client, order) as lease:
            lease.lost.wait()
        order.say("ok")

    def _enter(self, order: Order, turn: sidelock.Turn | None) -> None:
        if turn is None:
            order.say("none")
        elif turn.won:
            assert turn.lease is not None
            self._held[order.text("as")] = turn
            order.say("turn", fence=turn.lease.fence)
        else:
            order.say("done", result=turn.result)

    def _once(self, order: Order) -> None:
        self._enter(order, once(self.client, order).enter())

    def _try_once(self, order: Order) -> None:
        self._enter(order, once(self.client, order).try_enter(order.span("wait") or 0))

    def _finish(self, order: Order) -> None:
        turn = self._held[order.text("lease")]
        assert isinstance(turn, sidelock.Turn)
        turn.finish(order.text("result").encode())
        order.say("ok")

    def _release(self, order: Order) -> None:
        held = self._held.pop(order.text("lease"))
        held.give_back() if isinstance(held, sidelock.Turn) else held.release()
        order.say("ok")

    def _drop(self, order: Order) -> None:
        del self._held[order.text("lease")]
        order.say("ok")

    def _storm(self, order: Order) -> None:
        assert self._connected_by is not None
        times = int(order.text("times"))
        begun = threading.Barrier(times + 1)
        given_up: list[sidelock.Invalid] = []

        def wait() -> None:
            begun.wait()
            try:
                request(client, order).acquire()
            except sidelock.Invalid as closed:
                given_up.append(closed)

        with sidelock.Client(**client_options(self._connected_by)) as client:
            waits = [threading.Thread(target=wait) for _ in range(times)]
            for one in waits:
                one.start()
            begun.wait()
        for one in waits:
            one.join()
        assert len(given_up) == times, "nobody else lets go of the key"
        order.say("ok")

    def _upgrade(self, order: Order) -> None:
        lease = self._lease(order)
        lease.upgrade(order.span("wait"))
        del self._held[order.text("lease")]
        self._keep(order, lease)

    def _downgrade(self, order: Order) -> None:
        self._lease(order).downgrade()
        order.say("ok")

    def _lease(self, order: Order, name: str = "lease") -> sidelock.Lease:
        held = self._held[order.text(name)]
        lease = held.lease if isinstance(held, sidelock.Turn) else held
        assert lease is not None
        return lease

    def _renew(self, order: Order) -> None:
        self._lease(order).renew(order.span("ttl") or 0)
        order.say("ok")

    def _valid(self, order: Order) -> None:
        order.say("yes" if self._lease(order).is_valid() else "no")

    def _lost(self, order: Order) -> None:
        lost = self._lease(order).lost
        lost.wait()
        order.say("lost", reason=lost.reason)

    def _fenced(self, order: Order) -> sidelock.Lease | None:
        return self._lease(order, "fenced") if "fenced" in order else None

    def _get(self, order: Order) -> None:
        say_value(order, self.client.register(order.text("key")).get(lease=self._fenced(order)))

    def _put(self, order: Order) -> None:
        etag = self.client.register(order.text("key")).put(
            order.text("value").encode(),
            if_match=order.maybe("if_match"),
            if_absent="if_absent" in order,
            lease=self._fenced(order),
        )
        order.say("etag", etag=etag)

    def _delete(self, order: Order) -> None:
        register = self.client.register(order.text("key"))
        register.delete(if_match=order.maybe("if_match"), lease=self._fenced(order))
        order.say("ok")

    def _watch(self, order: Order) -> None:
        after = order.maybe("after")
        watch = self.client.register(order.text("key")).watch(None if after == "absent" else after)
        found = next(watch)
        if after == "absent" and found is None:
            # What a watch told first is what it goes on after.
            found = next(watch)
        say_value(order, found)


def main() -> None:
    for line in sys.stdin:
        order = Order(line)
        if order.actor not in _actors:
            _actors[order.actor] = Actor()
        if order.verb == "cancel":
            _actors[order.actor].cancel()
            continue
        _actors[order.actor].inbox.put(order)
        if order.verb == "close":
            del _actors[order.actor]


if __name__ == "__main__":
    main()
