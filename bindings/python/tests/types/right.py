"""A user's program, as type checkers see it: all of this is right."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import sidelock
from sidelock import aio


def blocking(sl: sidelock.Client) -> int:
    with sl.lock("orders/42", wait=5) as lease:
        fence: int = lease.fence
    if held := sl.try_lock("orders/42", wait=timedelta(seconds=0.25)):
        with held:
            fence = max(fence, held.fence)
    with sl.semaphore("api", limit=10).acquire(wait=10), sl.rwlock("catalog").read():
        pass
    with sl.once("invoice", per=timedelta(days=1)) as turn:
        if turn.won:
            turn.finish(b"42")
    value, etag = sl.register("cfg").get()
    sl.register("cfg").put(value + b"!", if_match=etag)
    with sl.rwlock("catalog").read() as share:
        share.upgrade(wait=timedelta(seconds=5))
    with sl.leader("scheduler", max_term=60) as leadership:
        fence = max(fence, leadership.term)
    both: dict[str, int] = sl.lock_all({"a", "b"}).acquire().fences
    return fence + sum(both.values())


sl = sidelock.Client(default_wait=5, require_scope="fleet")


@sl.locked("user/{user_id}", wait=2)
def change(user_id: int) -> str:
    return str(user_id)


decorated: Callable[[int], str] = change


async def awaited(client: aio.Client) -> None:
    async with client.lock("orders/42", wait=5, max_hold=60) as lease:
        await lease.lost.wait()
    if lease_or_none := await client.try_lock("k"):
        await lease_or_none.release()

    @client.locked("user/{name}")
    async def rename(name: str) -> int:
        return len(name)

    renamed: Awaitable[int] = rename("x")
    print(await renamed)
    async for leader in client.leader("scheduler").observe():
        print(None if leader is None else leader.fence)
    await client.close()


try:
    asyncio.run(awaited(aio.Client()))
except sidelock.Deadlock as deadlock:
    print(deadlock.key, [edge.owner for edge in deadlock.cycle])
except TimeoutError as error:
    print(error)
