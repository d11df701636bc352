"""Sidelock's Python client, one lock that nobody else wants.

With the argument `asyncio`, its asyncio client. Reads lines `NUMBER SOCKET KEY SECONDS TASKS`, the last of which is 1; for each
it acquires and releases for that long and answers `NUMBER WAIT:CYCLE …`: for each grant, microseconds from asking to having and
until it was given back.
"""

import asyncio
import sys
import time

import sidelock


def blocking(socket, key, seconds):
    lock = sidelock.Client(socket).lock(key)
    lock.acquire().release()
    cycles = []
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        lease = lock.acquire()
        having = time.perf_counter()
        lease.release()
        if having >= end:
            return cycles
        cycles.append((having - start, time.perf_counter() - start))


async def with_asyncio(socket, key, seconds):
    lock = sidelock.aio.Client(socket).lock(key)
    await (await lock.acquire()).release()
    cycles = []
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        lease = await lock.acquire()
        having = time.perf_counter()
        await lease.release()
        if having >= end:
            return cycles
        cycles.append((having - start, time.perf_counter() - start))


print("ready", flush=True)
for line in sys.stdin:
    number, socket, key, seconds, _ = line.split()
    if "asyncio" in sys.argv:
        cycles = asyncio.run(with_asyncio(socket, key, float(seconds)))
    else:
        cycles = blocking(socket, key, float(seconds))
    print(number, *(f"{wait * 1e6:.1f}:{cycle * 1e6:.1f}" for wait, cycle in cycles), flush=True)
