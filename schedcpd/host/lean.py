# SPDX-License-Identifier: Apache-2.0
"""Keeps out of the daemon what others would import for it: 10 MB that it never uses.

Import this first, and `keep_out` has been called. asyncio imports ssl if it can, and hashlib
OpenSSL, but the daemon speaks to no network and signs in a child; dbus_next imports GLib if it
is installed, but runs on asyncio. Each importer has its own way without them.
"""

from __future__ import annotations

import ctypes
import gc
import sys

UNWANTED = ("ssl", "_ssl", "_hashlib", "gi")


def keep_out() -> None:
    """Makes importing these fail, in a process that has imported none of their users yet."""
    if "asyncio" not in sys.modules:
        for name in UNWANTED:
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # the documented way


def give_back() -> None:
    """Returns to the kernel what only starting needed (malloc_trim(3))."""
    gc.collect()
    gc.freeze()  # what lives now lives to the end: later collections need not visit it
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


keep_out()
