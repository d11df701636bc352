"""The asyncio client, against a real sidecar."""

import asyncio
import random
from datetime import timedelta

import pytest

import sidelock


def run(body):
    """A test that is a coroutine."""

    def test(place, key):
        asyncio.run(asyncio.wait_for(body(place, key), 60))

    test.__name__ = body.__name__
    return test


@run
async def test_a_lock_excludes_and_its_fence_rises(place, key):
    aio, other = place.aio(), place.aio()
    async with aio.lock(key, wait=5) as first:
        assert first.is_valid()
        assert await other.try_lock(key) is None
    async with other.lock(key, wait=5) as second:
        assert second.fence > first.fence


@run
async def test_a_body_is_cancelled_when_its_lease_is_lost(place, key):
    reached = []
    with pytest.raises(sidelock.LeaseLost) as caught:
        async with place.aio().lock(key, ttl=0.1) as lease:
            lease.on_lost(lambda loss: reached.append(loss.reason))
            try:
                await asyncio.sleep(30)
            finally:
                reached.append(lease.lost.is_set())
    assert (caught.value.reason, reached) == ("expired", ["expired", True])
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)


@run
async def test_a_block_may_be_left_by_another_task(place, key):
    """As asyncio does with a generator that nobody goes on with."""
    lock = place.aio().lock(key)

    async def held():
        async with lock:
            yield

    async def step(half):
        return await half

    generator = held()
    await asyncio.create_task(step(generator.__anext__()))
    await asyncio.create_task(step(generator.aclose()))
    async with place.aio().lock(key, wait=5):
        pass


@run
async def test_a_cancellation_from_outside_stays_one(place, key):
    aio = place.aio()
    entered = asyncio.Event()

    async def body():
        async with aio.lock(key):
            entered.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(body())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with aio.lock(key, wait=0):
        pass


@run
async def test_a_timeout_around_a_body_and_a_loss_inside_it_keep_apart(place, key):
    aio = place.aio()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            async with aio.lock(key):
                await asyncio.sleep(30)
    with pytest.raises(sidelock.LeaseLost):
        async with asyncio.timeout(20):
            async with aio.lock(key, ttl=0.1):
                await asyncio.sleep(30)


@run
async def test_a_release_is_not_stopped_by_a_cancellation(place, key):
    aio, other = place.aio(), place.aio()
    for _ in range(50):
        lease = await aio.lock(key, wait=10).acquire()
        task = asyncio.create_task(lease.release())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not lease.is_valid()
        await (await other.lock(key, wait=10).acquire()).release()


@run
async def test_a_cancelled_wait_leaves_the_queue(place, key):
    aio, other = place.aio(), place.aio()
    async with aio.lock(key):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await other.lock(key).acquire()
    async with aio.lock(key, wait=0):
        pass


@run
async def test_a_thousand_cancelled_waits_leave_nothing(place, key):
    aio = place.aio()
    async with aio.lock(key):
        tasks = [asyncio.create_task(aio.lock(key).acquire()) for _ in range(1000)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    async with aio.lock(key, wait=0):
        pass


@run
async def test_waits_that_are_cancelled_as_they_are_granted_leave_nothing(place, key):
    aio = place.aio()

    async def once():
        lease = await aio.lock(key).acquire()
        await lease.release()

    tasks = [asyncio.create_task(once()) for _ in range(200)]
    for number, task in enumerate(tasks):
        if number % 3:
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with aio.lock(key, wait=5):
        pass


@run
async def test_what_is_cancelled_around_its_grant_is_given_back(place, key):
    aio = place.aio()
    keys = [f"{key}/{number}" for number in range(8)]
    # Turns of the event loop between the begin of a request and its answer, and a few after that.
    moments = random.Random(7)

    async def once(number):
        await (await aio.lock(keys[number % 8]).acquire()).release()

    for number in range(4000):
        task = asyncio.create_task(once(number))
        for _ in range(moments.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    async with aio.lock_all(keys, wait=5):
        pass


@run
async def test_a_thousand_waiters_share_one_connection(place, key):
    aio = place.aio()
    grants = []

    async def work():
        async with aio.lock(key) as lease:
            grants.append(lease.fence)

    await asyncio.gather(*(work() for _ in range(1000)))
    assert len(grants) == 1000 and grants == sorted(set(grants))


@run
async def test_the_rest_is_as_in_the_blocking_client(place, key):
    aio, other = place.aio(), place.aio()
    async with aio.semaphore(key, limit=2, permits=2):
        assert await other.semaphore(key, limit=2).try_acquire() is None
    async with aio.rwlock(key + "/rw").read(), other.rwlock(key + "/rw").read():
        assert await other.rwlock(key + "/rw").write().try_acquire() is None
    async with aio.lock_all([key + "/b", key + "/a"]) as both:
        assert list(both.fences) == [key + "/a", key + "/b"]
    async with aio.once(key, per=timedelta(days=1)) as turn:
        assert turn.won
        await turn.finish(b"42 rows")
    assert (await other.once(key, per=timedelta(days=1)).enter()).result == b"42 rows"
    register = aio.register(key)
    etag = await register.put(b"1", if_absent=True)
    with pytest.raises(sidelock.Conflict) as caught:
        await register.put(b"2", if_absent=True)
    assert caught.value.current == (b"1", etag)
    async for value in register.watch():
        assert value == (b"1", etag)
        break
    lease = await aio.lock(key, ttl=5).acquire()
    await lease.renew(20)
    assert [holder.fence for holder in await other.holders(key)] == [lease.fence]
    await lease.release()
    assert await aio.sidecar() is not None


@run
async def test_a_turn_that_fails_is_given_back_and_one_that_is_lost_says_so(place, key):
    aio = place.aio()
    with pytest.raises(ZeroDivisionError):
        async with aio.once(key, per=60):
            1 / 0
    with pytest.raises(sidelock.LeaseLost):
        async with aio.once(key, per=60, ttl=0.1, wait=5) as turn:
            assert turn.won
            await asyncio.sleep(30)
    async with aio.once(key, per=60, wait=5) as turn:
        assert turn.won


@run
async def test_a_body_under_a_rate_goes_on_when_its_permits_are_back(place, key):
    async with place.aio().rate(key, limit=1, per=0.3) as lease:
        await asyncio.sleep(0.6)
        assert not lease.is_valid()
    assert asyncio.current_task().cancelling() == 0


@run
async def test_a_decorated_function_runs_under_its_key(place, key):
    aio, other = place.aio(), place.aio()

    @aio.locked(key + "/{user_id}")
    async def change(user_id: int) -> bool:
        return await other.try_lock(f"{key}/{user_id}") is None

    assert await change(7)
