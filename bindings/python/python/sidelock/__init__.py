"""Locks, semaphores, rates, once-per-window and registers from the sidecar next to this program.

>>> import sidelock
>>> sl = sidelock.Client()
>>> with sl.lock("orders/42", wait=5) as lease:
...     update_order(42, fence=lease.fence)

`sidelock.aio.Client` is the same for asyncio. Spans are seconds, as numbers or `timedelta`. Whatever goes wrong is a
`SidelockError`, whose message says what to do and whose `code` is the same in every language.
"""

from . import _ends, aio
from ._client import Client, Lock, Once, Register, RwLock
from ._errors import (
    Conflict,
    Deadlock,
    Denied,
    Internal,
    Invalid,
    LeaseLost,
    LockError,
    NotFound,
    NotHeld,
    OutcomeUnknown,
    QueueFull,
    SidecarUnreachable,
    SidelockError,
    StoreUnavailable,
    Versioned,
    Waiting,
    WaitTimeout,
)
from ._leader import Leader, Leadership
from ._lease import Lease, Loss, Turn
from ._owner import owner
from ._seen import Holder, Sidecar
from ._span import Seconds

__all__ = [
    "Client",
    "Conflict",
    "Deadlock",
    "Denied",
    "Holder",
    "Internal",
    "Invalid",
    "Leader",
    "Leadership",
    "Lease",
    "LeaseLost",
    "Lock",
    "LockError",
    "Loss",
    "NotFound",
    "NotHeld",
    "Once",
    "OutcomeUnknown",
    "QueueFull",
    "Register",
    "RwLock",
    "Seconds",
    "Sidecar",
    "SidecarUnreachable",
    "SidelockError",
    "StoreUnavailable",
    "Turn",
    "Versioned",
    "WaitTimeout",
    "Waiting",
    "aio",
    "owner",
]
