"""audit: one line of JSON for everything that happens to a key."""

import json
from datetime import datetime, timezone
from hashlib import sha256

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import sink
from wit_world.imports.types import Event

KINDS = "queued granted refused denied cancelled released downgraded forced skipped finished lost".split()
KNOWN = {"kinds": "kinds of events", "prefixes": "beginnings of keys", "hide": "beginnings of keys"}

# What `configure` was given; an instance lives for one call.
wanted: dict[str, list[str]] = {}


def read(text: str) -> dict[str, list[str]]:
    settings = json.loads(text)
    for name, value in settings.items():
        if name not in KNOWN:
            raise Err(f"{name}: there is no such setting; there are {', '.join(KNOWN)}")
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            raise Err(f"{name}: wants a list of {KNOWN[name]}")
    for kind in settings.get("kinds", []):
        if kind not in KINDS:
            raise Err(f"kinds: there is no kind {kind}; there are {', '.join(KINDS)}")
    return settings


def is_wanted(event: Event) -> bool:
    kinds, prefixes = wanted.get("kinds"), wanted.get("prefixes")
    return (kinds is None or event.kind in kinds) and (prefixes is None or event.key.startswith(tuple(prefixes)))


def shown(key: str) -> str:
    """The key; or, if it is to be hidden, what is the same for the same key and tells nothing else."""
    for prefix in wanted.get("hide", []):
        if key.startswith(prefix):
            return prefix + sha256(key.encode()).hexdigest()[:16]
    return key


# How many parts of a detail are the sidecar's own words. The rest is a policy's or a person's, who may name the key in them.
OWN_WORDS = {"denied": 2, "forced": 1}


def detail(event: Event, hidden: bool) -> str:
    own = OWN_WORDS.get(event.kind)
    return ": ".join(event.detail.split(": ")[:own]) if hidden and own else event.detail


def line(event: Event) -> str:
    key = shown(event.key)
    at = datetime.fromtimestamp(event.unix_ms / 1000, timezone.utc)
    told = {
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "seq": event.seq,
        "kind": event.kind,
        "key": key,
        "uid": event.uid,
        "app": event.app,
    }
    # What there is nothing to say about is left out.
    rest = {"fence": event.fence, "wait_ms": event.wait_ms, "hold_ms": event.hold_ms, "detail": detail(event, key != event.key)}
    return json.dumps(told | {name: value for name, value in rest.items() if value}, ensure_ascii=False)


class Settings(exports.Settings):
    def validate(self, json: str) -> None:
        read(json)

    def configure(self, json: str) -> list[str]:
        wanted.update(read(json))
        return []


class Observation(exports.Observation):
    def observe(self, batch: list[Event]) -> None:
        for event in filter(is_wanted, batch):
            sink.emit(line(event))
