"""redis-py's Lock with its default settings, as one process of a crowd.

With the argument `asyncio`, its asyncio lock. Reads lines `NUMBER URL KEY SECONDS TASKS`, the last of which is 1; for each it
acquires and releases for that long and answers `NUMBER WAIT:CYCLE …`: for each grant, microseconds from asking to having and
until it was given back.
"""

import asyncio
import sys
import time

import redis
import redis.asyncio


def blocking(url, key, seconds):
    client = redis.Redis.from_url(url)
    lock = client.lock(key, timeout=10)
    client.ping()
    cycles = []
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        lock.acquire()
        having = time.perf_counter()
        lock.release()
        if having >= end:
            break
        cycles.append((having - start, time.perf_counter() - start))
    client.close()
    return cycles


async def with_asyncio(url, key, seconds):
    client = redis.asyncio.Redis.from_url(url)
    lock = client.lock(key, timeout=10)
    await client.ping()
    cycles = []
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        await lock.acquire()
        having = time.perf_counter()
        await lock.release()
        if having >= end:
            break
        cycles.append((having - start, time.perf_counter() - start))
    await client.aclose()
    return cycles


print("ready", flush=True)
for line in sys.stdin:
    number, url, key, seconds, _ = line.split()
    if "asyncio" in sys.argv:
        cycles = asyncio.run(with_asyncio(url, key, float(seconds)))
    else:
        cycles = blocking(url, key, float(seconds))
    print(number, *(f"{wait * 1e6:.1f}:{cycle * 1e6:.1f}" for wait, cycle in cycles), flush=True)
