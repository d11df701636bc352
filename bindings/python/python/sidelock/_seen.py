"""What can be seen without wanting anything: who has a key, and what the sidecar says of itself.

Owns the records, for both clients.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import _native
from ._span import to_seconds


@dataclass(frozen=True)
class Holder:
    """One of those who have a key."""

    mode: str
    """How much of it: `exclusive`, `shared` or `permits`."""
    local: bool
    """It is a lease of this client's sidecar."""
    known: bool
    """Its sidecar said whose it is. If not, because it is stopped or busy, no more is known than that it has the key."""
    app: str
    """What the program with the lease calls itself; empty if that is not known."""
    uid: int | None
    """That program's user id, if that is known."""
    owner: str | None
    """The owner that asked for it, if that is known."""
    fence: int | None
    """The lease's fence token, if it is known; what is only reserved has none yet."""
    held_for: float | None
    """Seconds since its grant, if that is known."""
    expires_in: float
    """Seconds until it ends, unless it is extended before."""


@dataclass(frozen=True)
class Sidecar:
    """What the sidecar says of itself."""

    scope: str
    """How far its locks reach: `process`, `host` or `fleet`."""
    guarantee: str
    """What holds through a loss of the store's data: `local`, `bounded` or `strict`."""
    namespace: str
    """The part of the store that it works in."""


def to_holder(holder: _native.Holder) -> Holder:
    return Holder(
        mode=holder.mode,
        local=holder.local,
        known=holder.known,
        app=holder.app,
        uid=holder.uid,
        owner=holder.owner,
        fence=holder.fence,
        held_for=to_seconds(holder.held_for_ms),
        expires_in=holder.expires_in_ms / 1000,
    )


def to_leader(holder: _native.Holder | None) -> Holder | None:
    return None if holder is None else to_holder(holder)


def to_sidecar(sidecar: _native.Sidecar | None) -> Sidecar | None:
    if sidecar is None:
        return None
    return Sidecar(sidecar.scope.name.lower(), sidecar.guarantee.name.lower(), sidecar.namespace)
