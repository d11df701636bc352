"""What a lock costs, in calls: bounds that need no clock; and what becomes of what a call brought back and nobody took."""

import asyncio
import collections
import os
import threading

import pytest

import sidelock
from sidelock import _plain
from sidelock._native import sidelock_ffi as generated

CYCLES = 50


@pytest.fixture
def calls(monkeypatch):
    """How often each plain function is called, and how often the generated code calls any."""
    counts = collections.Counter()

    def count(module, name, as_name):
        original = getattr(module, name)

        def counted(*arguments):
            outcome = original(*arguments)
            # A call that a signal interrupted is made again.
            if outcome != _plain.FAILED:
                counts[as_name] += 1
            return outcome

        monkeypatch.setattr(module, name, counted)

    for name in ("acquire", "release", "go_on", "give_up"):
        count(_plain, name, name)
    count(sidelock.aio._client, "begin_acquire", "begin_acquire")
    count(sidelock.aio._lease, "begin_release", "begin_release")
    count(generated, "_uniffi_rust_call_with_error", "generated")
    return counts


def test_a_cycle_is_two_calls(sl, key, calls):
    lock = sl.lock(key)
    lock.acquire().release()
    calls.clear()
    for _ in range(CYCLES):
        with sl.lock(key, wait=60) as lease:
            assert lease.fence and lease.is_valid()
        lock.acquire().release()
    assert calls == {"acquire": 2 * CYCLES, "release": 2 * CYCLES}


def test_a_cycle_of_an_event_loop_is_two_calls_and_their_answers(place, key, calls):
    async def cycles():
        lock = place.aio().lock(key)
        await (await lock.acquire()).release()
        calls.clear()
        for _ in range(CYCLES):
            lease = await lock.acquire()
            assert lease.fence and lease.is_valid()
            await lease.release()
        return collections.Counter(calls)

    counts = asyncio.run(cycles())
    answers = counts.pop("go_on")
    assert counts == {"begin_acquire": CYCLES, "begin_release": CYCLES}
    assert answers <= 2 * CYCLES


def test_a_block_that_does_not_wait_is_not_watched(place, key, calls):
    async def cycles():
        aio = place.aio()
        async with aio.lock(key):
            pass
        calls.clear()
        for _ in range(CYCLES):
            async with aio.lock(key):
                pass
        return calls["generated"]

    assert asyncio.run(cycles()) == 0


def test_a_lease_that_nobody_took_is_given_back(sl, other, key, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sidelock.Lease, "__init__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sl.lock(key).acquire()
    monkeypatch.undo()
    with other.lock(key, wait=5):
        pass


def test_a_lease_that_no_task_took_is_given_back(place, other, key, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    async def acquire():
        with pytest.raises(KeyboardInterrupt):
            await aio.lock(key).acquire()

    aio = place.aio()
    monkeypatch.setattr(sidelock.aio.Lease, "__init__", interrupt)
    asyncio.run(acquire())
    monkeypatch.undo()
    with other.lock(key, wait=5):
        pass


def test_loops_come_and_go_and_leave_nothing(place, key):
    aio = place.aio()

    async def cycle():
        async with aio.lock(key, wait=20):
            await asyncio.sleep(0)

    def open_descriptors():
        return len(os.listdir("/proc/self/fd"))

    asyncio.run(cycle())
    before = open_descriptors()
    for _ in range(20):
        asyncio.run(cycle())
    # The last one's stay until this thread has another loop.
    assert open_descriptors() <= before + 3
    threads = [threading.Thread(target=lambda: asyncio.run(cycle())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert open_descriptors() <= before + 3


def test_a_loop_that_ends_leaves_its_queues(place, other, key):
    aio = place.aio()

    async def wait_in_vain():
        task = asyncio.create_task(aio.lock(key).acquire())
        await asyncio.sleep(0.05)
        assert not task.done()

    with other.lock(key):
        asyncio.run(wait_in_vain())
    with other.lock(key, wait=5):
        pass


def test_what_is_no_number_of_permits_is_said(sl, key):
    for wrong in ({"limit": -1}, {"limit": 2**40}, {"limit": 2, "permits": 1.5}):
        with pytest.raises(sidelock.Invalid, match="permits"):
            sl.semaphore(key, **wrong)
    with pytest.raises(sidelock.Invalid):
        sl.lock(key, priority=2**40)
