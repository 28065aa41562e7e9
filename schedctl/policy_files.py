# SPDX-License-Identifier: Apache-2.0
"""`schedctl policy lint` and `diff`: files not in force, and what sets two policies apart."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from schedctl.exits import CallError
from schedctl.offline import argv, document, run_here
from schedctl.session import Session
from schedctl.text import Column, Output, safe

_PROGRAM = "schedcpd.lint"
_TIMEOUT_S = 60.0
_WORDS = {
    *("name", "description", "extends", "origin", "author", "file", "line", "sha256"),
    *("standing", "current", "unavailable"),
}
"""What `diff` leaves out: it compares what policies do."""


def lint(options: argparse.Namespace) -> int:
    """Runs it with this process' terminal; its exit code is ours."""
    return run_here(argv(_PROGRAM, *(["--json"] if options.json else []), "--", *options.files))


async def linted(files: list[str]) -> dict[str, Any]:
    """The JSON document of `lint`. CallError: there is none, and why."""
    program = argv(_PROGRAM, "--json", "--", *files)
    return await document(program, "lint", "the files could not be read", timeout_s=_TIMEOUT_S)


def named(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for policy in found:
        if policy.get("name") == name:
            return policy
    names = ", ".join(str(policy.get("name", "")) for policy in found)
    raise CallError("NotFound", f"there is no policy {name}", hint=f"one of: {names}")


def word(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


async def diff(session: Session) -> None:
    sides = session.options.a, session.options.b
    told: list[dict[str, Any]] = []
    if any(not _is_file(side) for side in sides):
        told = await session.read(lambda control: control.policies())
    one, other = [await _side(side, told) for side in sides]
    changes = differences(one, other)
    if session.output.json_wanted:
        content = {"a": one["name"], "b": other["name"], "changes": changes}
        session.output.document("diff", content)
        return
    if not changes:
        session.output.line(f"{safe(one['name'])} and {safe(other['name'])} do the same")
        return
    table(session.output, changes, sides)


def table(output: Output, changes: list[dict[str, Any]], sides: tuple[str, str]) -> None:
    rows = [[each["field"], _shown(each["a"]), _shown(each["b"])] for each in changes]
    titles = ("FIELD", *sides)
    output.table(
        [Column(safe(title), shrink=index > 0) for index, title in enumerate(titles)], rows
    )


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else word(value)


def _is_file(side: str) -> bool:
    return "/" in side or side.partition(":")[0].endswith(".yaml")


async def _side(side: str, told: list[dict[str, Any]]) -> dict[str, Any]:
    """NAME of the daemon's, or FILE.yaml[:NAME] as it would be in force."""
    if not _is_file(side):
        return named(told, side)
    path, colon, name = side.rpartition(":") if not side.endswith(".yaml") else (side, "", "")
    path = path or side
    found = await linted([path])
    if found["errors"]:
        first = found["errors"][0]
        where = f"{first['file']}:{first['line']}: {first['field']} {first['message']}"
        raise CallError("InvalidConfig", where, hint=f"see: schedctl policy lint {path}")
    policies = found["policies"]
    if colon:
        return named(policies, name)
    if len(policies) != 1:
        names = " or ".join(f"{path}:{policy['name']}" for policy in policies)
        hint = f"name one: {names}" if names else "name a file that has policies"
        raise CallError("Ambiguous", f"{path} has {len(policies)} policies", hint=hint)
    return dict(policies[0])


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`{"field", "a", "b"}` for everything that differs; None where one side has it not."""
    left, right = _flat(one), _flat(other)
    fields = [*left, *(field for field in right if field not in left)]
    return [
        {"field": field, "a": left.get(field), "b": right.get(field)}
        for field in fields
        if left.get(field) != right.get(field)
    ]


def _flat(policy: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in policy.items():
        if not above and key in _WORDS:
            continue
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{above}{key}."))
        else:
            flat[above + key] = value
    return flat
