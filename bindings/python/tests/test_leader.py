"""Who leads."""

import asyncio

import pytest

import sidelock


def test_one_leads_until_it_resigns(sl, other, key):
    with sl.leader(key).campaign(wait=5) as leadership:
        assert other.leader(key).try_campaign() is None
        with pytest.raises(sidelock.WaitTimeout):
            other.leader(key, wait=0.05).campaign()
        assert other.leader(key).current().fence == leadership.term
        assert leadership.is_valid() and leadership.key == f"leader/{key}"
    with other.leader(key, wait=5) as next_one:
        assert next_one.term > leadership.term
        next_one.resign()
    assert sl.leader(key).current() is None


def test_who_looks_on_is_told_of_each_leader(sl, other, key):
    changes = other.leader(key).observe()
    assert next(changes) is None
    leadership = sl.leader(key).campaign()
    assert next(changes).fence == leadership.term
    leadership.resign()
    assert next(changes) is None


def test_a_term_has_an_end(sl, key):
    with pytest.raises(sidelock.LeaseLost) as caught:
        with sl.leader(key, max_term=0.2) as leadership:
            assert leadership.lost.wait(10)
    assert caught.value.reason == "max_hold"


def test_asyncio_leads_as_well(place, key):
    async def body():
        aio, other = place.aio(), place.aio()
        changes = other.leader(key).observe()
        assert await anext(changes) is None
        async with aio.leader(key) as leadership:
            assert await other.leader(key).try_campaign() is None
            assert (await anext(changes)).fence == leadership.term
            await leadership.resign()
        assert await other.leader(key).current() is None
        with pytest.raises(sidelock.LeaseLost):
            async with aio.leader(key, max_term=0.2):
                await asyncio.sleep(30)

    asyncio.run(asyncio.wait_for(body(), 60))
