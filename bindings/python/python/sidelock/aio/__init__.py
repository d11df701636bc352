"""The same for asyncio: what blocks in `sidelock` is awaited here, and a body is cancelled when its lease is lost.

>>> aio = sidelock.aio.Client()
>>> async with aio.lock("orders/42", wait=5) as lease:
...     await update_order(42, fence=lease.fence)
"""

from ._client import Client, Lock, Once, Register, RwLock
from ._leader import Leader, Leadership
from ._lease import Lease, Loss, Turn

__all__ = ["Client", "Leader", "Leadership", "Lease", "Lock", "Loss", "Once", "Register", "RwLock", "Turn"]
