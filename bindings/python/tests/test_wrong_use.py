"""What a program writes by mistake is told, and costs nobody a lock."""

import asyncio
import copy
import pickle
import sys
import threading

import pytest

import sidelock
from sidelock._span import to_ms


@pytest.mark.parametrize(
    "ask",
    [
        lambda sl, key: sl.lock(key, timeout=5),
        lambda sl, key: sl.try_lock(key, blocking_timeout=5),
        lambda sl, key: sl.semaphore(key, 10, permit=2),
        lambda sl, key: sl.rate(key, 10, 1, burst=2),
        lambda sl, key: sl.rwlock(key, readers=2),
        lambda sl, key: sl.lock_all([key], share=True),
        lambda sl, key: sl.once(key, per=1, reentrant=True),
    ],
)
def test_an_option_that_there_is_not_is_no_option(sl, key, ask):
    """Left out without a word, `timeout=5` would wait without end."""
    with pytest.raises(TypeError, match="is no option; there are wait, "):
        ask(sl, key)


def test_windows_are_aligned_in_one_of_two_ways(sl, key):
    with pytest.raises(sidelock.Invalid, match="'rolling' or 'utc'"):
        sl.once(key, per=60, align="UTC")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps])
def test_what_is_there_once_can_not_be_copied(sl, key, duplicate):
    """A copy would free it a second time, or use it in a process that it does not belong to."""
    with sl.lock(key) as lease:
        for thing in (sl, lease, sl.register(key), sl.lock(key), lease._share, sl._native):
            with pytest.raises((TypeError, AttributeError)):
                duplicate(thing)
        for thing in (lease._share, sl._native):
            with pytest.raises(TypeError, match="neither copied nor pickled"):
                copy.copy(thing)


def test_a_turn_with_a_result_that_is_none_is_given_back(sl, other, key):
    with pytest.raises(TypeError):
        with sl.once(key, per=60) as turn:
            turn.finish("text")
    kept = turn
    with other.once(key, per=60, wait=5) as turn:
        assert turn.won
    assert kept.won


def test_a_turn_with_a_result_that_is_none_is_given_back_by_tasks_too(place, key):
    async def main():
        async with place.aio() as one, place.aio() as two:
            with pytest.raises(TypeError):
                async with one.once(key, per=60) as turn:
                    await turn.finish("text")
            kept = turn
            async with two.once(key, per=60, wait=5) as turn:
                assert turn.won
            assert kept.won

    asyncio.run(main())


@pytest.mark.parametrize("name", ["x" * 500, "é" * 200, "\ud800" * 3])
def test_threads_and_tasks_are_named_as_programs_like(place, sl, key, name):
    def lock():
        with sl.lock(key, wait=5):
            taken.append(name)

    async def lock_too():
        async with place.aio() as aio, aio.lock(key, wait=5):
            taken.append(name)

    async def main():
        await asyncio.create_task(lock_too(), name=name)

    taken = []
    thread = threading.Thread(target=lock, name=name)
    thread.start()
    thread.join()
    asyncio.run(main())
    assert taken == [name, name]


def test_a_generator_function_takes_its_lock_itself(sl, key):
    def generator():
        yield

    async def generator_of_a_task():
        yield

    for function in (generator, generator_of_a_task):
        with pytest.raises(sidelock.Invalid):
            sl.locked(key)(function)


def test_the_longest_span_there_is_is_a_span(sl, key):
    assert to_ms(sys.float_info.max, "wait") == 2**53
    with sl.lock(key, wait=sys.float_info.max):
        pass
