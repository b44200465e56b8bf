"""Loops as machine code, for where columns would take many small passes: docs/decisions/0007-compiled-loops.md."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

from numba import njit

_LOG = logging.getLogger("upnext.compiled")

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(*signatures: str) -> Callable[[Loop], Loop]:
    """Compile a function of numpy arrays and numbers for exactly these signatures ("float32[:](int32[::1], int64)").

    Other types are refused (TypeError): a new specialisation in the middle of a request would cost a second. The
    compiled code is kept beside Python's own bytecode, releases the interpreter's lock, divides as numpy does, and
    checks no bounds: a loop must know that its indices are inside.
    """

    def machine_code(loop: Loop) -> Loop:
        made = njit(list(signatures), cache=True, nogil=True, error_model="numpy", boundscheck=False)(loop)
        if made.stats.cache_misses:
            _say_once()
        return cast(Loop, made)

    return machine_code


@cache
def _say_once() -> None:
    _LOG.info("Compiling loops for this machine: about half a minute, once after an installation")
