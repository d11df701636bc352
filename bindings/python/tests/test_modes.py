"""Shares that become the whole, and back."""

import asyncio
import random
import signal
import subprocess
import threading

import pytest
from conftest import program, waits

import sidelock


def test_a_reader_becomes_the_writer_and_a_reader_again(sl, other, key):
    with sl.rwlock(key).read() as lease:
        share = lease.fence
        lease.upgrade(wait=5)
        assert lease.fence > share and lease.fences == {key: lease.fence}
        assert other.rwlock(key).read().try_acquire() is None
        whole = lease.fence
        lease.downgrade()
        assert lease.fence == whole
        with other.rwlock(key).read():
            pass
    assert sl.holders(key) == []


def test_an_upgrade_waits_for_the_other_readers_and_leaves_the_share_if_it_gives_up(sl, other, key):
    lease = sl.rwlock(key).read().acquire()
    with other.rwlock(key).read():
        with pytest.raises(sidelock.WaitTimeout):
            lease.upgrade(wait=0.05)
        assert lease.is_valid()
    lease.upgrade(wait=5)
    lease.release()


def test_the_second_of_two_upgrades_is_told(sl, other, key):
    first, second = sl.rwlock(key).read().acquire(), other.rwlock(key).read().acquire()
    thread = threading.Thread(target=first.upgrade)
    thread.start()
    while other.rwlock(key).read().try_acquire() is not None:
        # Each was forgotten at once. The upgrade goes before all others: once it is there, there is no more share to be had.
        pass
    with pytest.raises(sidelock.Deadlock):
        second.upgrade()
    second.release()
    thread.join()
    first.release()


def test_only_a_share_is_upgraded(sl, key):
    with sl.lock(key) as lease:
        with pytest.raises(sidelock.Conflict) as caught:
            lease.upgrade(wait=0)
        assert caught.value.code == "not_upgradable"
    with sl.lock_all([key, key + "/b"]) as both, pytest.raises(sidelock.Invalid):
        both.downgrade()
    with pytest.raises(sidelock.LeaseLost):
        lease.downgrade()


def test_a_loss_after_an_upgrade_is_heard(sl, key):
    lease = sl.rwlock(key, max_hold=2).read().acquire()
    lost = lease.lost
    lease.upgrade()
    assert lost.wait(10) and lost.reason == "max_hold"


def test_asyncio_upgrades_and_a_cancelled_upgrade_leaves_the_share(place, key):
    async def body():
        aio, other = place.aio(), place.aio()
        async with aio.rwlock(key).read() as lease:
            share = lease.fence
            async with other.rwlock(key).read():
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await lease.upgrade()
                assert lease.is_valid() and lease.fence == share
            await lease.upgrade(wait=5)
            assert lease.fence > share
            await lease.downgrade()
            async with other.rwlock(key).read():
                pass
        assert await aio.holders(key) == []

    asyncio.run(asyncio.wait_for(body(), 60))


def test_asyncio_an_upgrade_that_is_cancelled_around_its_grant_leaves_a_share(place, key):
    async def body():
        aio, other = place.aio(), place.aio()
        # Turns of the event loop between the begin of an upgrade and its grant, and a few after that.
        moments = random.Random(7)
        async with aio.rwlock(key).read() as lease:
            for _ in range(2000):
                task = asyncio.create_task(lease.upgrade())
                for _ in range(moments.randrange(12)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()
                    await lease.downgrade()
            async with other.rwlock(key, wait=5).read():
                pass
            await lease.upgrade(wait=5)

    asyncio.run(asyncio.wait_for(body(), 60))


def test_an_upgrade_that_is_interrupted_around_its_grant_leaves_a_share(place, sl, key):
    """A handler that throws, at any moment."""
    text = f"""
import random
class Enough(Exception): pass
def throw(*_): raise Enough
signal.signal(signal.SIGALRM, throw)
moments = random.Random(7)
lease = sl.rwlock({key!r}).read().acquire()
for _ in range(500):
    heard = False
    try:
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 2e-4))
        try:
            lease.upgrade()
            heard = True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except (Enough, TypeError):
        # The generated code takes what is thrown while it looks at a number for a sign that it is none.
        pass
    if heard:
        lease.downgrade()
say('done')
sys.stdin.read()
"""
    holder = program(place, text, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == "done\n"
    with sl.rwlock(key, wait=5).read():
        pass
    holder.stdin.close()
    assert holder.wait(20) == 0


def test_a_handler_releases_what_the_call_that_it_interrupted_upgrades(place, sl, key):
    text = f"""
lease = sl.rwlock({key!r}).read().acquire()
signal.signal(signal.SIGUSR1, lambda *_: lease.release())
try:
    lease.upgrade()
except sidelock.SidelockError as error:
    say(type(error).__name__)
"""
    with sl.rwlock(key).read():
        holder = program(place, text)
        waits(place, key)
        holder.send_signal(signal.SIGUSR1)
        assert holder.stdout.readline() == "LeaseLost\n"
        assert holder.wait(20) == 0
