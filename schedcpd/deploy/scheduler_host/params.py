# SPDX-License-Identifier: Apache-2.0
"""What callers may pass; every InvalidArgumentError names the param and what it must be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.errors import InvalidArgumentError
from schedcpd.host.manifest import NAME
from schedcpd.host.scx_programs import PROGRAMS
from schedcpd.model import IntentClass, Tunable

LOAD = frozenset({"scheduler", "object", "sha256", "tunables", "intents", "deployment_id", "token"})
RUN = frozenset({"program", "mode", "sha256", "deployment_id", "token", "timeout_s"})
MAX_RUN_S = 600.0
MAX_IDS = 16384  # INTENT_MAX_CGROUPS of bpf/include/intent.h
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def text(raw: Mapping[str, Any], name: str, at_most: int = 4096) -> str:
    value = raw[name]
    if not isinstance(value, str) or len(value) > at_most or not value.isprintable():
        raise InvalidArgumentError(f"{name}: must be one line of at most {at_most} characters")
    return value


def ids(raw: Mapping[str, Any], name: str) -> list[int]:
    """Cgroup ids: kernfs ids, 64 bits, never 0."""
    value = raw[name]
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise InvalidArgumentError(f"{name}: must be a list of at most {MAX_IDS} cgroup ids")
    return [_id(item, f"{name}[{at}]") for at, item in enumerate(value)]


def intents(raw: Mapping[str, Any], name: str) -> list[tuple[int, IntentClass]]:
    value = raw[name]
    if not isinstance(value, list) or len(value) > MAX_IDS:
        raise InvalidArgumentError(
            f"{name}: must be a list of at most {MAX_IDS} [cgroup_id, class]"
        )
    found = []
    for at, item in enumerate(value):
        if not isinstance(item, list) or len(item) != 2:
            raise InvalidArgumentError(f"{name}[{at}]: must be [cgroup_id, class]")
        try:
            intent = IntentClass(item[1])
        except ValueError as e:
            raise InvalidArgumentError(
                f"{name}[{at}]: {item[1]!r:.80} is no intent class",
                hint=f"one of {', '.join(IntentClass)}",
            ) from e
        found.append((_id(item[0], f"{name}[{at}]"), intent))
    return found


def _id(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 64:
        raise InvalidArgumentError(f"{where}: {value!r:.80} is no cgroup id")
    return value


def _sha256(raw: Mapping[str, Any]) -> str:
    value = text(raw, "sha256", 64)
    if not _SHA256.match(value):
        raise InvalidArgumentError("sha256: must be 64 lower-case hex digits")
    return value


def _choice(raw: Mapping[str, Any], name: str, known: Collection[str]) -> str:
    value = text(raw, name, 64)
    if value not in known:
        hint = f"one of {', '.join(known)}"
        raise InvalidArgumentError(f"{name}: {value!r} is not known", hint=hint)
    return value


@dataclass(frozen=True, slots=True)
class RunRequest:
    """An external scheduler by name; where its program is and its arguments are never passed."""

    program: str
    mode: str
    sha256: str
    deployment_id: str
    token: str
    timeout_s: float

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> RunRequest:
        program = _choice(raw, "program", PROGRAMS)
        timeout_s = raw["timeout_s"]
        number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
        if not number or not 0 < timeout_s <= MAX_RUN_S:
            raise InvalidArgumentError(f"timeout_s: must be above 0 and at most {MAX_RUN_S:g}")
        return cls(
            program,
            _choice(raw, "mode", PROGRAMS[program].modes),
            _sha256(raw),
            text(raw, "deployment_id", 128),
            text(raw, "token", 8192),
            float(timeout_s),
        )


@dataclass(frozen=True, slots=True)
class LoadRequest:
    scheduler: str
    object: str
    sha256: str
    tunables: Mapping[str, Tunable]
    intents: list[tuple[int, IntentClass]]
    deployment_id: str
    token: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> LoadRequest:
        scheduler = text(raw, "scheduler", 31)
        if not NAME.fullmatch(scheduler):
            raise InvalidArgumentError(f"scheduler: {scheduler!r} is no name of a scheduler")
        path = text(raw, "object")
        if not path.startswith("/"):
            raise InvalidArgumentError(f"object: {path!r:.80} must be an absolute path")
        sha256 = _sha256(raw)
        tunables = raw["tunables"]
        if not isinstance(tunables, dict):
            raise InvalidArgumentError("tunables: must be an object of name: value")
        return cls(
            scheduler,
            path,
            sha256,
            tunables,
            intents(raw, "intents"),
            text(raw, "deployment_id", 128),
            text(raw, "token", 8192),
        )
