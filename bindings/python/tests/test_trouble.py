"""What happens to holders and waiters that end, fork, are interrupted or collected; and a sidecar that is not there."""

import gc
import signal
import subprocess
import threading
import time

import pytest
from conftest import program, waits

import sidelock


def test_a_killed_holder_hands_over(place, sl, key):
    holder = program(place, f"l = sl.lock({key!r}).acquire(); say('held'); time.sleep(60)")
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with sl.lock(key, wait=10):
        assert time.monotonic() - started < 5


def test_a_process_that_ends_while_it_waits_leaves_nothing(place, sl, key):
    with sl.lock(key):
        text = f"threading.Thread(target=lambda: sl.lock({key!r}).acquire(), daemon=True).start()\n"
        waiter = program(place, text + "sys.stdin.read()", stdin=subprocess.PIPE)
        waits(place, key)
        waiter.stdin.close()
        assert waiter.wait(20) == 0
    with sl.lock(key, wait=5):
        pass


def test_ctrl_c_ends_a_wait_at_once_and_leaves_the_queue(place, sl, key):
    text = f"try: sl.lock({key!r}).acquire()\nexcept KeyboardInterrupt: say('interrupted')\n"
    with sl.lock(key):
        waiter = program(place, text + "time.sleep(60)")
        waits(place, key)
        waiter.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert waiter.stdout.readline() == "interrupted\n"
        assert time.monotonic() - started < 3
    with sl.lock(key, wait=5):
        pass
    waiter.kill()
    waiter.wait()


def test_a_signal_that_is_handled_does_not_cost_the_place_in_the_queue(place, sl, key):
    text = "signal.signal(signal.SIGUSR1, lambda *_: say('handled'))\n"
    text += f"with sl.lock({key!r}) as lease: say(lease.fence)"
    with sl.lock(key) as lease:
        waiter = program(place, text)
        waits(place, key)
        for _ in range(20):
            waiter.send_signal(signal.SIGUSR1)
            assert waiter.stdout.readline() == "handled\n"
    assert int(waiter.stdout.readline()) > lease.fence
    assert waiter.wait(20) == 0


def test_a_handler_may_call_and_be_refused_in_the_middle_of_a_call(place, sl, key):
    text = f"""
def look(*_):
    assert sl.try_lock({key!r}, owner="handler") is None
    say("looked")
signal.signal(signal.SIGUSR1, look)
with sl.lock({key!r}) as lease: say(lease.fence)
"""
    with sl.lock(key) as lease:
        waiter = program(place, text)
        waits(place, key)
        for _ in range(20):
            waiter.send_signal(signal.SIGUSR1)
            assert waiter.stdout.readline() == "looked\n"
    assert int(waiter.stdout.readline()) > lease.fence
    assert waiter.wait(20) == 0


def test_a_program_may_end_while_it_is_told_of_a_loss(place, key):
    text = f"lease = sl.lock({key!r}, wait=5).acquire()\nlease.on_lost(lambda _: time.sleep(0.1))\n"
    for ending in ("", "sl.close()\n", "sl.close(); time.sleep(0.05)\n"):
        ended = program(place, text + ending)
        assert ended.wait(20) == 0, ending


def test_a_wait_does_not_spin(sl, other, key):
    with sl.lock(key):
        thread = threading.Thread(target=lambda: other.try_lock(key, wait=1.0))
        before = time.process_time()
        thread.start()
        thread.join()
        assert time.process_time() - before < 0.2


def test_a_lease_that_is_forgotten_is_given_back(sl, other, key):
    lease = sl.lock(key).acquire()
    assert other.try_lock(key) is None
    del lease
    gc.collect()
    with other.lock(key, wait=5):
        pass


def test_a_scope_can_be_demanded(place, request):
    client = place.client(require_scope="fleet")
    if request.node.callspec.params["place"] == "redis":
        assert client.sidecar().scope == "fleet"
    else:
        with pytest.raises(sidelock.Invalid) as caught:
            client.sidecar()
        assert caught.value.code == "scope_too_small"
