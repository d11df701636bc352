"""Keys with a function's arguments in them.

Owns the template of a `locked` function, which is checked when the function is defined.
"""

from __future__ import annotations

import inspect
import string
from collections.abc import Callable, Mapping
from typing import Any

from ._errors import Invalid


class KeyTemplate:
    """A key such as `user/{user_id}`, for calls of one function."""

    __slots__ = ("_signature", "_template")

    def __init__(self, template: str, function: Callable[..., Any]) -> None:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        self._template = template
        self._signature = inspect.signature(function) if fields else None
        for field in fields:
            name = field.split(".")[0].split("[")[0]
            if self._signature is None or name not in self._signature.parameters:
                raise Invalid(
                    f"the key {template!r} names {name!r}, which is no parameter of {function.__qualname__}",
                    code="bad_request",
                )

    def fill(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """The key for a call with these arguments."""
        if self._signature is None:
            return self._template.format()
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self._template.format(**bound.arguments)
