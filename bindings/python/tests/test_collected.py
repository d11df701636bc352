"""What is collected in one circle ends in any order: whoever ends last may use once more what has ended."""

import pytest
from conftest import program

# One whose `__del__` uses what it has, which is older, and so ends before.
KEEPER = """
import gc
class Keeper:
    def __init__(self, thing, use):
        self.thing, self.use, self.me = thing, use, self
    def __del__(self):
        try: said.append(self.use(self.thing))
        except Exception as error: said.append(type(error).__name__)
said = []
gc.disable()
def collect(thing, use):
    Keeper(thing, use)
    del thing
    gc.collect()
for _ in range(50):
    collect(MAKE, USE)
say(set(said))
"""


@pytest.mark.parametrize(
    ("make", "use", "said"),
    [
        ("sl.lock(KEY).acquire(wait=5)", "lambda it: (it.is_valid(), it.fence, it.release())", "{(False, 0, None)}"),
        ("sl.lock(KEY).acquire(wait=5)", "lambda it: it.fences", "{'ReferenceError'}"),
        ("sidelock.Client(sl_socket)", "lambda it: it.lock(KEY).acquire()", "{'Invalid'}"),
        ("sidelock.Client(sl_socket)", "lambda it: it.holders(KEY)", "{'ReferenceError'}"),
        ("sidelock.Client(sl_socket)", "lambda it: it.close()", "{None}"),
        ("sl.register(KEY)", "lambda it: it.get()", "{'ReferenceError'}"),
        ("sl.once(KEY, 60).enter()", "lambda it: it.finish()", "{'ReferenceError'}"),
    ],
)
def test_what_has_ended_is_used_once_more(place, key, make, use, said):
    text = KEEPER.replace("MAKE", make).replace("USE", use)
    ended = program(place, f"KEY, sl_socket = {key!r}, {place.socket!r}\n" + text)
    assert ended.communicate(timeout=60)[0] == said + "\n"
    assert ended.returncode == 0


def test_a_loop_that_is_collected_with_its_tasks(place, sl, key):
    text = f"""
import asyncio, gc
aio = sidelock.aio.Client({place.socket!r})
gc.disable()
async def wait():
    await aio.lock({key!r}).acquire()
for _ in range(20):
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    tasks = [loop.create_task(wait()) for _ in range(5)]
    loop.run_until_complete(asyncio.sleep(0.01))
    del loop, tasks
    gc.collect()
say('collected')
"""
    with sl.lock(key):
        waiter = program(place, text)
        assert waiter.communicate(timeout=60)[0] == "collected\n"
        assert waiter.returncode == 0
    with sl.lock(key, wait=5):
        pass
