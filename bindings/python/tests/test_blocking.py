"""The blocking client, against a real sidecar."""

import math
import os
import threading
from datetime import timedelta

import pytest

import sidelock


def test_a_lock_excludes_and_its_fence_rises(sl, other, key):
    with sl.lock(key, wait=5) as first:
        assert first.is_valid()
        assert first.remaining > 1
        assert other.try_lock(key) is None
    assert not first.is_valid()
    with other.lock(key, wait=5) as second:
        assert second.fence > first.fence


def test_a_block_may_be_left_by_another_thread(sl, other, key):
    """As web frameworks do that run the halves of a generator wherever there is room."""
    lock = sl.lock(key)

    def held():
        with lock:
            yield

    for _ in range(2):
        generator = held()
        for step in (lambda: next(generator), generator.close):
            thread = threading.Thread(target=step)
            thread.start()
            thread.join()
        other.lock(key, wait=5).acquire().release()


def test_who_leaves_what_several_others_are_in_is_told_so(sl, key):
    shared = sl.rwlock(key).read()
    entered, leave = threading.Barrier(3), threading.Event()

    def reads():
        with shared:
            entered.wait()
            leave.wait()

    threads = [threading.Thread(target=reads) for _ in range(2)]
    for thread in threads:
        thread.start()
    entered.wait()
    with pytest.raises(RuntimeError, match="2 others are in it"):
        shared.__exit__(None, None, None)
    leave.set()
    for thread in threads:
        thread.join()


def test_waiting_ends_with_a_timeout_error(sl, other, key):
    with sl.lock(key):
        with pytest.raises(TimeoutError) as caught:
            other.lock(key, wait=0.05).acquire()
    assert isinstance(caught.value, sidelock.WaitTimeout)
    assert (caught.value.key, caught.value.code) == (key, "wait_timeout")


def test_who_waits_gets_it(sl, other, key):
    lease = sl.lock(key).acquire()
    fences = []
    thread = threading.Thread(target=lambda: fences.append(other.lock(key).acquire().fence))
    thread.start()
    lease.release()
    thread.join()
    assert fences[0] > lease.fence


def test_spans_are_seconds_or_timedeltas(sl, key):
    for wait in (0, 0.5, timedelta(milliseconds=5), math.inf):
        sl.lock(key, wait=wait).acquire().release()
    for wait in (-1, timedelta(seconds=-1), math.nan):
        with pytest.raises(sidelock.Invalid):
            sl.lock(key, wait=wait)


def test_releasing_twice_is_no_error(sl, key):
    lease = sl.lock(key).acquire()
    lease.release()
    lease.release()


def test_a_lease_is_a_context_manager(sl, other, key):
    if lease := sl.try_lock(key, wait=0.25):
        with lease:
            assert other.try_lock(key) is None
    other.lock(key, wait=0).acquire().release()


def test_one_lock_object_serves_many_threads(sl, key):
    lock = sl.lock(key)
    inside = []
    most = []

    def work():
        for _ in range(20):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 80)


def test_semaphores_rates_and_rwlocks(sl, other, key):
    with sl.semaphore(key, limit=2, permits=2).acquire(wait=5):
        assert other.semaphore(key, limit=2).try_acquire() is None
        with pytest.raises(sidelock.Conflict) as caught:
            other.semaphore(key, limit=3).acquire(wait=0)
        assert (caught.value.code, caught.value.limit) == ("limit_mismatch", 2)
    with sl.rate(key + "/rate", limit=1, per=30).acquire():
        pass
    with pytest.raises(sidelock.WaitTimeout) as late:
        other.rate(key + "/rate", limit=1, per=30).acquire(wait=0)
    assert 25 < late.value.retry_after <= 31
    rw = sl.rwlock(key + "/rw")
    with rw.read(), other.rwlock(key + "/rw").read():
        assert other.rwlock(key + "/rw").write().try_acquire() is None


def test_several_keys_are_all_or_nothing(sl, other, key):
    a, b = key + "/a", key + "/b"
    with other.lock(a):
        assert sl.lock_all([a, b]).try_acquire() is None
        other.lock(b, wait=0).acquire().release()
    with sl.lock_all([b, a]) as both:
        assert list(both.fences) == [a, b]
        assert other.try_lock(a) is None and other.try_lock(b) is None


def test_once_runs_once(sl, other, key):
    with sl.once(key, per=timedelta(days=1)) as turn:
        assert turn.won and turn.lease.is_valid()
        assert other.once(key, per=timedelta(days=1)).try_enter() is None
        turn.finish(b"42 rows")
        with pytest.raises(sidelock.Conflict) as again:
            turn.finish(b"43 rows")
        assert again.value.code == "turn_closed"
    with other.once(key, per=timedelta(days=1)) as skipped:
        assert not skipped.won
        assert (skipped.result, skipped.finished_at is None) == (b"42 rows", False)
        with pytest.raises(sidelock.Invalid):
            skipped.finish(b"43 rows")


def test_a_turn_that_fails_is_given_back_and_one_that_ends_is_finished(sl, other, key):
    with pytest.raises(ZeroDivisionError):
        with sl.once(key, per=60):
            1 / 0
    with other.once(key, per=60, wait=5) as turn:
        assert turn.won
    assert sl.once(key, per=60).enter().result == b""


def test_registers_have_versions(sl, other, key):
    register = sl.register(key)
    with pytest.raises(sidelock.NotFound):
        register.get()
    first = register.put(b"1", if_absent=True)
    assert register.get() == (b"1", first)
    second = other.register(key).put(b"2", if_match=first)
    with pytest.raises(sidelock.Conflict) as caught:
        register.put(b"3", if_match=first)
    assert caught.value.current == (b"2", second)
    changes = other.register(key).watch(after=first)
    assert next(changes) == (b"2", second)
    register.delete(if_match=second)
    assert next(changes) is None


def test_what_is_too_large_is_told_the_limit(sl, key):
    with pytest.raises(sidelock.Invalid) as caught:
        sl.register(key).put(b"x" * 65537)
    assert (caught.value.code, caught.value.limit) == ("too_large", 65536)


def test_a_write_under_a_lease_that_is_over_is_refused(sl, key):
    register = sl.register(key)
    with sl.lock(key) as lease:
        register.put(b"1", lease=lease)
    with pytest.raises(sidelock.Conflict) as caught:
        register.put(b"2", lease=lease)
    assert caught.value.code == "stale_fence"
    assert register.get().value == b"1"


def test_a_lease_with_a_ttl_lives_by_its_renewals(sl, key):
    lease = sl.lock(key, ttl=2).acquire()
    lease.renew(timedelta(seconds=20))
    assert lease.remaining > 2
    lease.release()


def test_a_loss_is_an_event_a_callback_and_an_exception_at_the_end(sl, key):
    told = threading.Event()
    losses = []
    with pytest.raises(sidelock.LeaseLost) as caught:
        with sl.lock(key, ttl=0.1) as lease:
            lease.on_lost(lambda loss: (losses.append(loss.reason), told.set()))
            assert lease.lost.wait(5)
            assert told.wait(5)
            assert not lease.is_valid()
    assert (caught.value.key, caught.value.reason, losses) == (key, "expired", ["expired"])
    late = []
    lease.on_lost(late.append)
    assert len(late) == 1


def test_an_exception_of_the_body_is_not_hidden_by_the_loss(sl, key):
    with pytest.raises(ZeroDivisionError):
        with sl.lock(key, ttl=0.1) as lease:
            lease.lost.wait(5)
            1 / 0


def test_a_released_lease_is_not_lost(sl, key):
    with sl.lock(key) as lease:
        lost = lease.lost
    assert not lost.wait(0.1)


def test_a_decorated_function_runs_under_its_key(sl, other, key):
    @sl.locked(key + "/{user_id}", wait=2)
    def change(user_id: int, by: int = 1) -> tuple[int, bool]:
        return by, other.try_lock(f"{key}/{user_id}") is None

    assert change(7) == (1, True)
    assert change(user_id=8, by=2) == (2, True)
    with pytest.raises(sidelock.Invalid, match="names 'user'"):
        sl.locked("user/{user}")(change)


def test_holders_are_named(sl, other, key):
    assert sl.holders(key) == []
    with sl.lock(key) as lease:
        [holder] = other.holders(key)
    assert (holder.mode, holder.fence, holder.local) == ("exclusive", lease.fence, True)
    assert holder.app and (holder.known, holder.uid) == (True, os.getuid())


def test_the_sidecar_says_what_it_is(sl, request):
    expected = {"memory": ("host", "local"), "redis": ("fleet", "bounded")}
    sidecar = sl.sidecar()
    assert (sidecar.scope, sidecar.guarantee) == expected[request.node.callspec.params["place"]]


def test_an_embedded_client_needs_no_sidecar():
    sl = sidelock.Client.embedded(default_wait=0.05)
    with sl.lock("k"), sidelock.owner("somebody else"):
        with pytest.raises(sidelock.WaitTimeout):
            sl.lock("k").acquire()
