"""Keys that begin with `prefix` are for one app alone.

The module is imported once, when the policy is built; each decision begins from there. There is no clock and no
randomness: what a decision may depend on comes with the request.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import (
    Decision,
    Denial,
    Request,
    Verdict,
    Verdict_Abstain,
    Verdict_Allow,
    Verdict_Deny,
)

# What `configure` was given; an instance lives for one decision.
settings = {"prefix": "private/", "app": "owner"}


def read(text: str) -> dict[str, str]:
    given = json.loads(text)
    for name, value in given.items():
        if name not in settings:
            raise Err(f"{name}: there is no such setting; there are {', '.join(settings)}")
        if not isinstance(value, str):
            raise Err(f"{name}: wants a text")
    return given


def judge(request: Request) -> Verdict:
    private = [key for key in request.keys if key.startswith(settings["prefix"])]
    if not private:
        return Verdict_Abstain()
    if request.peer.app == settings["app"]:
        return Verdict_Allow()
    message = f'"{private[0]}" is for the app "{settings["app"]}"'
    return Verdict_Deny(Denial("private", message, retry_after_ms=None))


class Settings(exports.Settings):
    def validate(self, json: str) -> None:
        read(json)  # What is raised is shown to the operator.

    def configure(self, json: str) -> list[str]:
        settings.update(read(json))
        return []  # The counters that we want: none.


class Admission(exports.Admission):
    def admit(self, r: Request) -> Decision:
        # The answer depends on nothing that changes: the sidecar may give it again for a minute without asking.
        return Decision(judge(r), count=[], cache_ms=60_000)
