# SPDX-License-Identifier: Apache-2.0
"""Shell-style globs for names and for cgroup paths, in time bounded by the input's size.

A name glob is that of fnmatch, case-sensitive. A path glob is matched level by level:
`*` stays inside one level, a level that is `**` stands for any number of levels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

MAX_GLOB = 256
_WILD_START = frozenset("*?[")
_WILD = re.compile(r"\[[^]]*\]|[*?]")


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))


def _matches(glob: str, name: str) -> bool:
    if _WILD_START.isdisjoint(glob):  # most globs are plain names: no pattern is kept for them
        return glob == name
    return _compiled(glob).match(name) is not None


def name_matches(globs: Iterable[str], name: str) -> str | None:
    """The first glob that matches `name`, None when none does. An empty name matches nothing."""
    if not name:
        return None
    return next((glob for glob in globs if _matches(glob, name)), None)


def path_matches(globs: Iterable[str], path: str) -> str | None:
    """The first path glob that matches the cgroup path `path` ("/" is the root)."""
    levels = _levels(path)
    return next((glob for glob in globs if _walk(_levels(glob), levels)), None)


def literals(glob: str) -> int:
    """How many characters a glob fixes: the measure of how specific it is."""
    return len(_WILD.sub("", glob))


def complaint(glob: str, *, path: bool = False) -> str:
    """Why `glob` is not allowed, "" when it is."""
    if not glob or len(glob) > MAX_GLOB:
        return f"must have 1 to {MAX_GLOB} characters"
    if path and not glob.startswith("/"):
        return "can match no cgroup path, which begins with /"
    if path and any("**" in level and level != "**" for level in _levels(glob)):
        return "has ** inside a level; ** must be a whole level"
    return ""


def _levels(path: str) -> list[str]:
    return [level for level in path.split("/") if level]


def _walk(globs: list[str], levels: list[str]) -> bool:
    """Positions in `globs` reachable after each level, so that ** costs no backtracking."""
    reach = _skip({0}, globs)
    for level in levels:
        step: set[int] = set()
        for at in reach:
            if at == len(globs):
                continue
            if globs[at] == "**":
                step.add(at)
            elif _matches(globs[at], level):
                step.add(at + 1)
        reach = _skip(step, globs)
        if not reach:
            return False
    return len(globs) in reach


def _skip(at: set[int], globs: list[str]) -> set[int]:
    """A `**` may stand for no level at all."""
    out = set(at)
    for position in sorted(at):
        while position < len(globs) and globs[position] == "**":
            position += 1
            out.add(position)
    return out
