"""Many waiters: one connection, one place in the store's queue."""

import asyncio
import json
import subprocess

from conftest import BINARY, redis, serve

COUNT = 1000


def look(sidecar, *words):
    command = [BINARY, *words, "--socket", sidecar.socket, "-o", "json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


async def until_they_wait(sidecar, count):
    while look(sidecar, "stat")["waiters"] != count:
        await asyncio.sleep(0.01)


def test_a_thousand_waiters_are_one_connection_and_one_entry_of_the_stores_queue(tmp_path):
    places = [tmp_path / name for name in ("here", "there")]
    for place in places:
        place.mkdir()

    async def body(store, here, there):
        holder, aio = there.aio(), here.aio()
        async with holder.lock("k"):
            waits = [asyncio.create_task(aio.lock("k").acquire())]
            await until_they_wait(here, 1)
            [record] = store.ask("--scan", "--pattern", "*:lock").splitlines()
            of_one = store.ask("STRLEN", record)
            waits += [asyncio.create_task(aio.lock("k").acquire()) for _ in range(COUNT - 1)]
            await until_they_wait(here, COUNT)
            assert look(here, "stat")["sessions"] == 1
            [key] = look(there, "why", "k")["fleet"]["keys"]
            assert len(key["queue"]) == 1
            # The record has an entry for each sidecar that waits, and nothing else that could grow with its waiters.
            assert store.ask("STRLEN", record) == of_one
        fences = []
        for wait in waits:
            lease = await wait
            fences.append(lease.fence)
            await lease.release()
        assert fences == sorted(set(fences)) and len(fences) == COUNT

    with redis(tmp_path) as store:
        here, there = (serve(place, "--redis", store.url) for place in places)
        try:
            asyncio.run(asyncio.wait_for(body(store, here, there), 60))
        finally:
            here.stop()
            there.stop()
