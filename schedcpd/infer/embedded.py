# SPDX-License-Identifier: Apache-2.0
"""The rules inside the daemon: what holds when `policies.d/` has nothing to say.

Few, and only what is safe anywhere; `policies.d/` has the real list. Their priority is 0, one
below the lowest a file may state.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schedcpd.model import AppKind, IntentClass, Rule

_NONE: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def _rule(name: str, match: dict[str, tuple[str, ...]], intent: IntentClass, why: str) -> Rule:
    return Rule(name, MappingProxyType(match), _NONE, intent, 0, why, "built-in", 0)


EMBEDDED = (
    _rule(
        "desktop-app",
        {"kind": (AppKind.DESKTOP_APP.value,)},
        IntentClass.INTERACTIVE,
        "a person started it from the desktop",
    ),
    _rule(
        "login-session",
        {"kind": (AppKind.SESSION.value,)},
        IntentClass.INTERACTIVE,
        "a person is logged in there",
    ),
    _rule(
        "compiler",
        {
            "executable": (
                "cc1",
                "cc1plus",
                "clang",
                "gcc",
                "g++",
                "make",
                "ninja",
                "rustc",
                "cargo",
            )
        },
        IntentClass.BATCH,
        "a build runs long and its throughput decides",
    ),
    _rule(
        "background-slice",
        {"slice": ("background.slice",)},
        IntentClass.BACKGROUND,
        "the desktop's own name for work nobody waits for",
    ),
)
