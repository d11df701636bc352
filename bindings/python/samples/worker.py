"""Workers that share a list of jobs without a queue: each job is done once a day, and at most two at a time reach the printer. A
worker whose lease is lost is cancelled. Start a sidecar first: `sidelock serve`.
"""

import asyncio
import random
import time
from datetime import timedelta

import sidelock
from sidelock import aio

DAY = timedelta(days=1)
printed: list[str] = []
at_once = most_at_once = 0


async def print_invoice(invoice: str) -> None:
    global at_once, most_at_once
    at_once += 1
    most_at_once = max(most_at_once, at_once)
    await asyncio.sleep(0.02)
    printed.append(invoice)
    at_once -= 1


async def work(day: str, invoices: list[str]) -> None:
    """Goes through all jobs. Those that others have done, or are at, cost it no more than a question."""
    async with aio.Client() as sl:
        for invoice in random.sample(invoices, len(invoices)):
            try:
                async with sl.once(f"invoices/{day}/{invoice}", per=DAY) as turn:
                    if not turn.won:
                        assert turn.result == b"printed"
                        continue
                    async with sl.semaphore("printer", limit=2):
                        await print_invoice(invoice)
                    await turn.finish(b"printed")
            except sidelock.LeaseLost as lost:
                print(f"{invoice} is somebody else's now ({lost.reason})")


async def main() -> None:
    invoices = [f"invoice-{number}" for number in range(6)]
    day = f"day-{time.time_ns()}"
    await asyncio.gather(*(work(day, invoices) for _ in range(4)))
    assert sorted(printed) == invoices, f"not each once: {printed}"
    assert most_at_once <= 2, "three at the printer"
    print(f"printed {len(printed)} invoices once each")


if __name__ == "__main__":
    asyncio.run(main())
