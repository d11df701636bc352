"""What the two players have in common: orders and answers as lines, and what is asked for in the words of the package.

Owns the lines, which `bindings/cases/README.md` describes, and nothing of waiting: requests are built alike by both clients.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote

import sidelock

# What would be read as something else; `quote` leaves letters, digits and these alone.
_SAFE = "/:;@&?'\"!$()*~`<>[]{}|^\\"


class Order:
    """A line that was read."""

    def __init__(self, line: str) -> None:
        words = line.rstrip("\n").split(" ")
        self.number, self.actor, self.verb = words[:3]
        self._fields = dict(word.split("=", 1) for word in words[3:])

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str:
        return unquote(self._fields[name])

    def maybe(self, name: str) -> str | None:
        return self.text(name) if name in self else None

    def texts(self, name: str) -> list[str]:
        return [unquote(part) for part in self._fields[name].split(",")]

    def span(self, name: str) -> float | None:
        """Seconds."""
        return int(self._fields[name]) / 1000 if name in self else None

    def say(self, word: str, **fields: object) -> None:
        """The answer, whole: the driver reads lines."""
        written = "".join(f" {name}={_written(value)}" for name, value in fields.items() if value is not None)
        sys.stdout.write(f"{self.number} {word}{written}\n")
        sys.stdout.flush()


def _written(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(quote(str(part), safe=_SAFE) for part in value)
    text = value.decode() if isinstance(value, bytes) else str(value)
    return quote(text, safe=_SAFE)


def options(order: Order, *names: str) -> dict[str, Any]:
    """Spans, and what else every request may have."""
    chosen: dict[str, Any] = {name: order.span(name) for name in names if name in order}
    if "priority" in order:
        chosen["priority"] = int(order.text("priority"))
    if "reentrant" in order:
        chosen["reentrant"] = True
    return chosen


def request(client: Any, order: Order) -> Any:
    """What `acquire`, `try` and `run` ask for."""
    key, chosen = order.text("key"), options(order, "wait", "ttl", "max_hold")
    if "limit" in order:
        limit, permits = int(order.text("limit")), int(order.maybe("permits") or 1)
        if "per" in order:
            return client.rate(key, limit, order.span("per"), permits, **chosen)
        return client.semaphore(key, limit, permits, **chosen)
    if "shared" in order:
        return client.rwlock(key, **chosen).read()
    if "write" in order:
        return client.rwlock(key, **chosen).write()
    return client.lock(key, **chosen)


def several(client: Any, order: Order) -> Any:
    chosen = options(order, "wait", "ttl", "max_hold")
    return client.lock_all(order.texts("keys"), shared="shared" in order, **chosen)


def once(client: Any, order: Order) -> Any:
    chosen = options(order, "wait", "ttl", "max_hold")
    return client.once(order.text("key"), order.span("per"), align=order.maybe("align") or "rolling", **chosen)


def client_options(order: Order) -> dict[str, Any]:
    return {
        "socket": order.text("socket"),
        "app": order.text("client"),
        "default_wait": order.span("default_wait"),
        "require_scope": order.maybe("require_scope"),
    }


def say_lease(order: Order, lease: Any) -> None:
    if "keys" in order:
        order.say("lease", keys=list(lease.fences), fence=list(lease.fences.values()))
    else:
        order.say("lease", fence=lease.fence)


def say_value(order: Order, value: sidelock.Versioned | None) -> None:
    if value is None:
        order.say("absent")
    else:
        order.say("value", value=value.value, etag=value.etag)


def say_error(order: Order, error: sidelock.SidelockError) -> None:
    """All that a program can decide on."""
    fields: dict[str, object] = {
        "kind": type(error).__name__,
        "code": error.code,
        "message": str(error),
        "reason": getattr(error, "reason", None),
        "limit": getattr(error, "limit", None),
        "policy": getattr(error, "policy", None),
        "reason_code": getattr(error, "reason_code", None),
    }
    after = getattr(error, "retry_after", None)
    if after is not None:
        fields["retry_after"] = round(after * 1000)
    current = getattr(error, "current", None)
    if current is not None:
        fields["current"], fields["etag"] = current
    cycle: Iterable[sidelock.Waiting] = getattr(error, "cycle", ())
    if cycle:
        fields["cycle_owners"] = [edge.owner for edge in cycle]
        fields["cycle_keys"] = [edge.key for edge in cycle]
    order.say("error", **fields)
