"""`python.py SOCKET KEY TIMES`: takes turns on a key, and says the fence of each."""

import sys

import sidelock

socket, key, times = sys.argv[1:]
with sidelock.Client(socket, app="python") as sl:
    for _ in range(int(times)):
        with sl.lock(key) as lease:
            print("python", lease.fence, flush=True)
