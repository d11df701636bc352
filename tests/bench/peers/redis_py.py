"""redis-py's Lock with its default settings, as one process of a crowd.

Reads lines `NUMBER URL KEY SECONDS TASKS`, the last of which is 1; for each it acquires and releases for that long and answers
`NUMBER WAIT:CYCLE …`: for each grant, microseconds from asking to having and until it was given back.
"""

import sys
import time

import redis

print("ready", flush=True)
for line in sys.stdin:
    number, url, key, seconds, _ = line.split()
    client = redis.Redis.from_url(url)
    lock = client.lock(key, timeout=10)
    client.ping()
    end = time.perf_counter() + float(seconds)
    answer = [number]
    while True:
        start = time.perf_counter()
        lock.acquire()
        having = time.perf_counter()
        lock.release()
        if having >= end:
            break
        answer.append(f"{(having - start) * 1e6:.0f}:{(time.perf_counter() - start) * 1e6:.0f}")
    client.close()
    print(*answer, flush=True)
