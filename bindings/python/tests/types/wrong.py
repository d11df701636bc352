"""A user's program, as type checkers see it: each marked line is wrong, and they have to say so."""

import sidelock


async def f(sl: sidelock.Client, client: sidelock.aio.Client) -> None:
    sl.lock("k", wait="5")  # wrong: seconds are no text
    sl.lock(42)  # wrong: a key is text
    sl.lock("k", waits=5)  # wrong: no such option
    sl.try_lock("k").release()  # wrong: it may be None
    (await client.try_lock("k")).fence  # wrong: it may be None
    sl.semaphore("k")  # wrong: without a limit
    sidelock.Client(require_scope="world")  # wrong: no such scope
    sl.register("cfg").put("text")  # wrong: values are bytes
    sl.leader("scheduler").try_campaign().term  # wrong: it may be None
    sl.leader("scheduler").current().app  # wrong: it may be None
    with client.lock("k"):  # wrong: wants async with
        pass
