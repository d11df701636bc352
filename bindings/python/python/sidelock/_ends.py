"""The end of the generated code's objects, each of which is there once.

Owns that one can not be copied, which would free it twice; and that one may be used once more after it: what is collected in one circle ends in any order, and an object's `__del__` may
use a client that ended before it. The generated code would hand the library what is freed.
"""

from __future__ import annotations

from typing import Any, Never

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

    def there_is_one(self: Any) -> Never:
        raise TypeError("this belongs to one process and is there once: it can be neither copied nor pickled")

    cls.__del__, cls._uniffi_clone_handle, cls.__reduce__ = end, use_if_there, there_is_one


for _generated in list(vars(_native.sidelock_ffi).values()):
    if isinstance(_generated, type) and "_uniffi_clone_handle" in vars(_generated):
        _end_for_good(_generated)
