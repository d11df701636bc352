"""Processes that fork, at any moment."""

import contextlib
import os
import signal
import socket
import subprocess
import threading

from conftest import program, waits


def test_a_forked_child_is_somebody_else(place, key):
    text = f"""
lease = sl.lock({key!r}).acquire()
child = os.fork()
if child == 0:
    assert not lease.is_valid()
    try: lease.release()
    except sidelock.LeaseLost: say('dead')
    say(sl.try_lock({key!r}))
    own = sl.lock({key + "/own"!r}, wait=5).acquire()
    say(own.is_valid())
    del lease
    os._exit(0)
os.waitpid(child, 0)
say(lease.is_valid())
lease.release()
"""
    parent = program(place, text)
    assert parent.communicate(timeout=30)[0].split() == ["dead", "None", "True", "True"]


def test_forked_workers_outlive_their_parent_and_keep_nothing_of_it(place, sl, key):
    text = f"""
lease = sl.lock({key!r}).acquire()
for number in range(4):
    if os.fork() == 0:
        with sl.lock({key!r} + f'/{{number}}', wait=5) as own:
            say('worker')
            time.sleep(2)
            say(own.is_valid())
        os._exit(0)
time.sleep(60)
"""
    parent = program(place, text)
    assert [parent.stdout.readline() for _ in range(4)] == ["worker\n"] * 4
    parent.kill()
    with sl.lock(key, wait=1.5):
        pass
    assert parent.stdout.read().split() == ["True"] * 4
    parent.wait()


def test_a_child_that_is_forked_while_a_thread_watches_watches_itself(place, sl, key):
    """And a watch that was begun before begins anew in the child."""
    sl.register(key).put(b"1")
    text = f"""
begun = sl.register({key!r}).watch()
next(begun)
etag = sl.register({key!r}).get().etag
watching = threading.Thread(target=lambda: say(next(sl.register({key!r}).watch(after=etag)).value))
watching.start()
time.sleep(0.1)
if os.fork() == 0:
    say(next(begun).value)
    mine = sl.register({key!r}).watch()
    say(next(mine).value)
    say('child')
    say(next(mine).value)
    os._exit(0)
watching.join()
os.wait()
say(next(begun).value)
"""
    parent = program(place, text)
    assert [parent.stdout.readline() for _ in range(3)] == ["b'1'\n", "b'1'\n", "child\n"]
    sl.register(key).put(b"2")
    assert parent.communicate(timeout=30)[0].split() == ["b'2'"] * 3


def test_a_handler_that_forks_in_the_middle_of_a_call(place, sl, key):
    """The child comes back into a call that its parent began: it makes it anew, by itself."""
    text = f"""
def fork(*_):
    global name
    if os.fork() == 0: name = 'child'
    say(name + ' is back')
name = 'parent'
signal.signal(signal.SIGUSR1, fork)
sl.sidecar()
lease = sl.lock({key!r}).acquire()
say(f'{{name}} has it')
lease.release()
if name == 'parent': os.wait()
"""
    with sl.lock(key):
        parent = program(place, text)
        waits(place, key)
        parent.send_signal(signal.SIGUSR1)
        assert {parent.stdout.readline() for _ in range(2)} == {"parent is back\n", "child is back\n"}
        waits(place, key, 2)
    assert {parent.stdout.readline() for _ in range(2)} == {"parent has it\n", "child has it\n"}
    assert parent.wait(20) == 0


class Doorkeeper:
    """Stands before a sidecar and lets nobody in until it is told, in the order of arrival."""

    def __init__(self, place, folder):
        self.socket = str(folder / "door.sock")
        self._behind = place.socket
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket)
        self._listener.listen()

    def waiting(self):
        """The next who wants in; its hello is here."""
        outside, _ = self._listener.accept()
        hello = outside.recv(65536)
        return outside, hello

    def let_in(self, outside, hello):
        inside = socket.socket(socket.AF_UNIX)
        inside.connect(self._behind)
        inside.sendall(hello)
        for here, there in ((outside, inside), (inside, outside)):
            threading.Thread(target=self._carry, args=(here, there), daemon=True).start()

    @staticmethod
    def _carry(here, there):
        with contextlib.suppress(OSError):
            while bytes_read := here.recv(65536):
                there.sendall(bytes_read)
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_fork_in_the_middle_of_a_handshake(place, sl, key, tmp_path):
    """The child connects by itself; what it inherited of the parent's handshake does not keep the parent's lease."""
    door = Doorkeeper(place, tmp_path)
    text = f"""
connecting = threading.Thread(target=sl.sidecar)
connecting.start()
sys.stdin.readline()
if os.fork() == 0:
    own = sl.lock({key + "/child"!r}, wait=5).acquire()
    say(os.getpid())
    time.sleep(60)
connecting.join()
lease = sl.lock({key!r}, wait=5).acquire()
say('parent')
time.sleep(60)
"""
    behind_the_door = type(place)(door.socket, place.process)
    parent = program(behind_the_door, text, stdin=subprocess.PIPE)
    half_way = door.waiting()
    parent.stdin.write("fork\n")
    parent.stdin.flush()
    door.let_in(*door.waiting())
    child = int(parent.stdout.readline())
    try:
        door.let_in(*half_way)
        assert parent.stdout.readline() == "parent\n"
        parent.kill()
        with sl.lock(key, wait=5):
            [holder] = sl.holders(key + "/child")
            assert holder.held_for is not None
    finally:
        os.kill(child, signal.SIGKILL)
        parent.kill()
        parent.wait()
