"""Spans of time: what users write, and what travels.

Owns the conversion. Users say seconds, as a number or a `timedelta`; the sidecar counts whole milliseconds.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TypeAlias

from ._errors import Invalid

Seconds: TypeAlias = float | timedelta
"""A span: a number of seconds, or a `timedelta`."""

_FOREVER_MS = 2**64 - 1
_LONGEST_MS = 2**53


def to_ms(span: Seconds, name: str) -> int:
    """A span in whole milliseconds, rounded up so that something does not become nothing. `name` is for the error."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if not seconds >= 0:
        raise Invalid(f"{name} is {span!r}; it has to be 0 or more seconds", code="bad_request")
    return min(math.ceil(min(seconds, _LONGEST_MS) * 1000), _LONGEST_MS)


def optional_ms(span: Seconds | None, name: str) -> int | None:
    return None if span is None else to_ms(span, name)


def wait_ms(wait: Seconds | None) -> int | None:
    """A wait: `None` is the client's default, infinity has no end."""
    if wait is None:
        return None
    return _FOREVER_MS if wait == math.inf else to_ms(wait, "wait")


def to_seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
