"""Owners: who is in a circle, and who is not."""

import asyncio
import contextvars
import threading

import pytest

import sidelock


def test_a_thread_that_wants_what_it_holds_is_told(sl, key):
    with sl.lock(key):
        with pytest.raises(sidelock.Deadlock) as caught:
            sl.lock(key).acquire()
    [edge] = caught.value.cycle
    assert edge.key == key and edge.held_for is not None
    with sl.lock(key), sl.lock(key, reentrant=True) as inner:
        assert inner.is_valid()


def test_two_threads_in_a_circle(sl, key):
    a, b = key + "/a", key + "/b"
    both = threading.Barrier(2)
    outcomes = []

    def work(first, second):
        with sl.lock(first):
            both.wait()
            try:
                with sl.lock(second, wait=10):
                    outcomes.append("had both")
            except sidelock.Deadlock as deadlock:
                outcomes.append(len(deadlock.cycle))

    threads = [threading.Thread(target=work, args=keys) for keys in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [2, "had both"]


def test_children_of_a_task_that_holds_something_are_others(place, key):
    """The parent holds A, two children wait for B and C, a stranger waits for A: nobody waits in a circle."""
    a, b, c = (f"{key}/{name}" for name in "abc")

    async def main():
        aio, stranger = place.aio(), place.aio()
        held = [await stranger.lock(k).acquire() for k in (b, c)]
        async with aio.lock(a):
            waiting = asyncio.create_task(stranger.lock(a, wait=20).acquire())
            children = [asyncio.create_task(aio.lock(k, wait=20).acquire()) for k in (b, c)]
            await asyncio.sleep(1.0)
            assert not any(task.done() for task in [waiting, *children])
            for lease in held:
                await lease.release()
            for lease in await asyncio.gather(*children):
                await lease.release()
        await (await waiting).release()

    asyncio.run(main())


def test_an_inherited_context_is_another_owner(sl, key):
    with sl.lock(key, wait=5):
        context = contextvars.copy_context()
        outcome = []

        def wants_it():
            try:
                sl.lock(key, wait=0.05).acquire()
            except sidelock.SidelockError as error:
                outcome.append(error.code)

        thread = threading.Thread(target=lambda: context.run(wants_it))
        thread.start()
        thread.join()
    assert outcome == ["wait_timeout"]


def test_a_name_joins_threads_on_purpose(sl, key):
    outcome = []

    def wants_it():
        with sidelock.owner("transfer 7"):
            try:
                sl.lock(key).acquire()
            except sidelock.Deadlock as deadlock:
                outcome.append(deadlock.cycle[0].owner)

    with sidelock.owner("transfer 7"), sl.lock(key):
        thread = threading.Thread(target=wants_it)
        thread.start()
        thread.join()
    assert outcome == ["transfer 7"]
