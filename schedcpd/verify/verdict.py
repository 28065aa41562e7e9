# SPDX-License-Identifier: Apache-2.0
"""Verdicts are made here and nowhere else; and read back from files, where nothing is believed.

A verdict passes only if every check of `REQUIRED` is in it and passed. What a verdict covers
besides its own tunables is decided in docs/adr/0002-verdicts.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from schedcpd import __version__
from schedcpd.errors import VerifyError
from schedcpd.host.manifest import Manifest
from schedcpd.model import (
    CheckResult,
    CheckStatus,
    KernelBuild,
    Tunable,
    Verdict,
    VerdictClock,
    VerdictOrigin,
)

REQUIRED = ("object", "tunables", "load", "behaviour")
MAX_FILE_BYTES = 1 << 20

_HINT = "remove the file and make it again with `make verdicts`, or reinstall the package"
_FIELDS: Mapping[str, type] = {
    "id": str,
    "passed": bool,
    "scheduler": str,
    "object_sha256": str,
    "tunables": dict,
    "kernel": dict,
    "vm_image": str,
    "checks": list,
    "made_unix_s": int,
    "origin": str,
    "schedcp_version": str,
    "ranges": dict,
    "clock": str,
}
_KERNEL_FIELDS: Mapping[str, type] = {"release": str, "version": str, "build_id": str}
_CHECK_FIELDS: Mapping[str, type] = {
    "name": str,
    "status": str,
    "reason": str,
    "sentence": str,
    "evidence": str,
    "hint": str,
    "seconds": float,
}


def make_verdict(
    *,
    scheduler: str,
    object_sha256: str,
    tunables: Mapping[str, Tunable],
    ranges: Mapping[str, tuple[float, float]],
    kernel: KernelBuild,
    vm_image: str,
    checks: Sequence[CheckResult],
    made_unix_s: int,
    origin: VerdictOrigin,
    clock: VerdictClock = VerdictClock.WALL,
) -> Verdict:
    """The verdict that these results amount to."""
    passed = {c.name for c in checks} >= set(REQUIRED) and all(
        c.status is CheckStatus.PASSED for c in checks
    )
    verdict = Verdict(
        id="",
        passed=passed,
        scheduler=scheduler,
        object_sha256=object_sha256,
        tunables=dict(tunables),
        kernel=kernel,
        vm_image=vm_image,
        checks=tuple(checks),
        made_unix_s=made_unix_s,
        origin=origin,
        schedcp_version=__version__,
        ranges=dict(ranges),
        clock=clock,
    )
    return replace(verdict, id=verdict.content_id)


def ranges_of(manifest: Manifest) -> dict[str, tuple[float, float]]:
    """What a verdict of the manifest's defaults covers: every declared range, both booleans."""
    return {
        name: (0, 1)
        if spec.minimum is None or spec.maximum is None
        else (spec.minimum, spec.maximum)
        for name, spec in sorted(manifest.tunables.items())
    }


def file_name(scheduler: str, object_sha256: str, build_id: str) -> str:
    """`<scheduler>.<first 12 of object sha256>.<first 12 of kernel build id>.json`."""
    return f"{scheduler}.{object_sha256[:12]}.{build_id[:12]}.json"


def verdict_to_json(verdict: Verdict) -> str:
    """For a file: readable, ends with a newline."""
    return json.dumps(asdict(verdict), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def verdict_from_json(text: str, where: str) -> Verdict:
    """The verdict in `text`; `where` names it in errors.

    VerifyError: not JSON, a field missing, unknown or of another type, or the content is not
    what its id says.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VerifyError(f"{where} is not JSON: {error}", hint=_HINT) from error
    if isinstance(raw, dict):  # one without was made before there was another clock
        raw = {"clock": VerdictClock.WALL.value, **raw}
    fields = _record(raw, _FIELDS, where)
    kernel = KernelBuild(**_record(fields.pop("kernel"), _KERNEL_FIELDS, f"{where}: kernel"))
    checks = tuple(
        _check(_record(each, _CHECK_FIELDS, f"{where}: checks[{n}]"), f"{where}: checks[{n}]")
        for n, each in enumerate(fields.pop("checks"))
    )
    for name, value in fields["tunables"].items():
        if not isinstance(value, bool | int | float | str) or _not_finite(value):
            raise VerifyError(f"{where}: tunables.{name} is not a value", hint=_HINT)
    ranges = {
        name: _range(bounds, f"{where}: ranges.{name}")
        for name, bounds in fields.pop("ranges").items()
    }
    try:
        origin = VerdictOrigin(fields.pop("origin"))
        clock = VerdictClock(fields.pop("clock"))
    except ValueError as error:
        raise VerifyError(f"{where}: origin or clock: {error}", hint=_HINT) from error
    verdict = Verdict(
        kernel=kernel, checks=checks, ranges=ranges, origin=origin, clock=clock, **fields
    )
    if verdict.id != verdict.content_id:
        raise VerifyError(f"{where}: its content is not what its id says: edited", hint=_HINT)
    return verdict


def _record(raw: object, fields: Mapping[str, type], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise VerifyError(f"{where} is not an object", hint=_HINT)
    for name in fields.keys() - raw.keys():
        raise VerifyError(f"{where}: {name} is missing", hint=_HINT)
    for name in raw.keys() - fields.keys():
        raise VerifyError(f"{where}: {name} is not known", hint=_HINT)
    for name, kind in fields.items():
        value = raw[name]
        if kind is float:
            good = type(value) in (int, float) and not _not_finite(value)
        else:
            good = type(value) is kind
        if not good:
            raise VerifyError(f"{where}: {name} is not {kind.__name__}", hint=_HINT)
    return dict(raw)


def _check(fields: dict[str, Any], where: str) -> CheckResult:
    try:
        fields["status"] = CheckStatus(fields["status"])
    except ValueError as error:
        raise VerifyError(f"{where}: status: {error}", hint=_HINT) from error
    return CheckResult(**fields)


def _range(bounds: object, where: str) -> tuple[float, float]:
    if (
        isinstance(bounds, list)
        and len(bounds) == 2
        and all(type(b) in (int, float) and not _not_finite(b) for b in bounds)
    ):
        return (bounds[0], bounds[1])
    raise VerifyError(f"{where} is not two numbers", hint=_HINT)


def _not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
