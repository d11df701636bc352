"""The end of a client."""

import asyncio
import threading

import pytest
from conftest import waits

import sidelock


def test_leaving_the_block_gives_back_what_was_held(place, other, key):
    with place.client() as sl:
        lease = sl.lock(key).acquire()
    assert not lease.is_valid()
    with other.lock(key, wait=5):
        pass
    with pytest.raises(sidelock.LeaseLost) as caught:
        lease.release()
    assert caught.value.reason == "session"
    sl.close()
    with pytest.raises(sidelock.Invalid, match="closed; make a new one"):
        sl.lock(key).acquire()
    with pytest.raises(sidelock.Invalid):
        sl.register(key).get()


def test_what_waits_on_another_thread_is_told(place, sl, key):
    closing, outcomes = place.client(), []

    def work():
        try:
            closing.lock(key).acquire()
        except sidelock.SidelockError as error:
            outcomes.append(error)

    with sl.lock(key):
        # One that waits, and one that has not begun to.
        threads = [threading.Thread(target=work) for _ in range(2)]
        threads[0].start()
        waits(place, key)
        closing.close()
        threads[1].start()
        for thread in threads:
            thread.join(10)
    assert [type(error) for error in outcomes] == [sidelock.Invalid] * 2


def test_a_client_that_never_connected_is_closed(tmp_path):
    sl = sidelock.Client(tmp_path / "nothing.sock")
    sl.close()
    with pytest.raises(sidelock.Invalid):
        sl.sidecar()


def test_asyncio_bodies_under_its_leases_are_cancelled(place, key):
    async def body():
        other = place.aio()
        async with place.aio() as aio:
            with pytest.raises(sidelock.LeaseLost) as caught:
                async with aio.lock(key):
                    waiting = asyncio.create_task(aio.lock(key).acquire())
                    await asyncio.sleep(0)
                    await aio.close()
                    await asyncio.sleep(30)
            assert caught.value.reason == "session"
            with pytest.raises(sidelock.Invalid):
                await waiting
        async with other.lock(key, wait=5):
            pass

    asyncio.run(asyncio.wait_for(body(), 60))
