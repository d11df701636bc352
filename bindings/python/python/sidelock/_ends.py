"""The end of the generated code's objects.

Owns that one may be used once more after it: what is collected in one circle ends in any order, and an object's `__del__` may
use a client that ended before it. The generated code would hand the library what is freed.
"""

from __future__ import annotations

from typing import Any

from . import _native


def _end_for_good(cls: Any) -> None:
    free, use = cls.__del__, cls._uniffi_clone_handle

    def end(self: Any) -> None:
        free(self)
        vars(self).pop("_handle", None)

    def use_if_there(self: Any) -> Any:
        if "_handle" not in vars(self):
            raise ReferenceError("this was collected together with what refers to it: it has ended")
        return use(self)

    cls.__del__, cls._uniffi_clone_handle = end, use_if_there


for _generated in list(vars(_native.sidelock_ffi).values()):
    if isinstance(_generated, type) and "_uniffi_clone_handle" in vars(_generated):
        _end_for_good(_generated)
