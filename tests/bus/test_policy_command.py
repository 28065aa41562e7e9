# SPDX-License-Identifier: Apache-2.0
"""`schedctl policy` as a process: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedcpd.bus.service import BusService
from schedcpd.model import IntentClass
from tests.bus.cli import Schedctl
from tests.bus.fake_control import SHIPPED, FakeControl
from tests.bus.private_bus import MockPolkit

NOWHERE = Schedctl("unix:path=/nonexistent/bus")
MINE = """\
version: 1
rules:
  - {name: mine, match: {executable: mine}, intent: latency, why: customers wait for it}
"""
BROKEN = """\
version: 1
rules:
  - {name: one, match: {executables: mine}, intent: latency, why: w}
  - {name: two, match: {executable: mine}, intent: fast, why: w}
"""


@pytest.fixture
def two(control: FakeControl) -> None:
    other = {**SHIPPED, "name": "lazy", "tunables": {"preempt": False, "slice_us": 3000}}
    control.shelf.append({**other, "machines": {}, "current": False, "description": "lazier"})


async def test_list_is_what_policies_is(ctl: Schedctl, service: BusService) -> None:
    for args in (("policy", "list"), ("policies",)):
        ran = await ctl(*args)
        assert ran.out.splitlines()[1].split("\t")[:5] == [
            "intent-default",
            "intent",
            "yes",
            "yes",
            "shipped",
        ]
        assert (await ctl(*args, "--json")).json["policies"] == [SHIPPED]


async def test_an_external_one_shows_what_it_runs_and_why_it_cannot(
    ctl: Schedctl, control: FakeControl, service: BusService
) -> None:
    why = "scx_lavd is not installed"
    external = {"scheduler": "scx_lavd", "external": True, "tunables": {"mode": "gaming"}}
    unusable = {"unavailable": why, "current": False, "standing": "trial"}
    known = {"name": "lavd-gaming", "arguments": ["--performance"]}
    control.shelf.append({**SHIPPED, **external, **unusable, **known})
    listed = (await ctl("policy", "list")).out.splitlines()
    columns = next(line.split("\t") for line in listed if line.startswith("lavd-gaming"))
    assert columns[1:4] == ["scx_lavd", "", "no"]
    shown = (await ctl("policy", "show", "lavd-gaming")).out
    assert "Runs         scx_lavd --performance\n" in shown
    assert f"Unusable     {why}\n" in shown


async def test_show(ctl: Schedctl, service: BusService) -> None:
    ran = await ctl("policy", "show", "intent-default")
    assert ran.code == 0
    said = dict(line.split(None, 1) for line in ran.out.splitlines() if not line.startswith("Ch"))
    assert said["Name"] == "intent-default (runs now)"
    assert said["Promises"] == "latency delay_p99_us 5000.0"
    assert said["Machines"] == "power ac"
    assert said["Origin"] == "shipped, /usr/share/schedcp/policies.d/intent.yaml:4"
    assert said["preempt"] == "true"
    assert said["Verified"] == "passed on 7.3.4-test (shipped)"
    assert "rolled-back after 125 s on 4 CPUs, ac with nginx: an operator" in said["Trial"]
    assert said["Trial"].endswith("promised 5000")
    found = await ctl("--json", "policy", "show", "intent-default")
    assert found.json["policy"]["tunables"] == {"preempt": True, "slice_us": 3000}


async def test_an_unknown_policy_is_refused_with_the_names(
    ctl: Schedctl, service: BusService
) -> None:
    ran = await ctl("policy", "show", "nothing")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "schedctl: there is no policy nothing (one of: intent-default)\n"
    assert (await ctl("policy", "diff", "intent-default", "nothing")).code == 1


async def test_diff_shows_what_differs_and_nothing_else(
    ctl: Schedctl, service: BusService, two: None
) -> None:
    ran = await ctl("policy", "diff", "intent-default", "lazy")
    assert (ran.code, [line.split("\t") for line in ran.out.splitlines()]) == (
        0,
        [
            ["FIELD", "intent-default", "lazy"],
            ["tunables.preempt", "true", "false"],
            ["machines.power", "ac", "-"],
        ],
    )
    found = (await ctl("policy", "diff", "intent-default", "lazy", "--json")).json["diff"]
    assert found["changes"][0] == {"field": "tunables.preempt", "a": True, "b": False}
    same = await ctl("policy", "diff", "lazy", "lazy")
    assert (same.code, same.out) == (0, "lazy and lazy do the same\n")


async def test_search_passes_on_what_is_asked(
    ctl: Schedctl, service: BusService, control: FakeControl
) -> None:
    args = ("--intent", "latency", "--workload", "/sys/fs/cgroup/a", "--here", "-n", "3")
    ran = await ctl("policy", "search", "one", "class", *args)
    assert control.catalogue.asked == {
        "words": "one class",
        "intent": IntentClass.LATENCY,
        "workload": "/a",
        "here": True,
        "limit": 3,
    }
    row = dict(zip(*[line.split("\t") for line in ran.out.splitlines()], strict=True))
    assert (row["NAME"], row["SCORE"], row["FITS"]) == ("intent-default", "+0.88", "yes")
    assert row["NEAREST"] == "nginx (0.12, replaced)"
    found = (await ctl("policy", "search", "--json")).json["found"]
    assert found[0]["neighbours"][0]["distance"] == 0.125
    assert control.catalogue.asked["intent"] is None
    for wrong in (("--intent", "fast"), ("-n", "0"), ("-n", "1001")):
        assert (await ctl("policy", "search", *wrong)).code == 2


async def test_promote_and_retire_are_authorised_and_recorded(
    ctl: Schedctl, service: BusService, control: FakeControl, polkit: MockPolkit
) -> None:
    denied = await ctl("policy", "retire", "intent-default")
    assert (denied.code, control.calls) == (4, [])
    await polkit.allow_all()
    ran = await ctl("policy", "retire", "intent-default", "--reason", "too slow here")
    assert ran.out == "intent-default: retired; it is not chosen by itself any more\n"
    assert control.calls[0][:2] == ("retired", "intent-default")
    assert control.calls[0][2].startswith("uid ") and control.calls[0][3] == "too slow here"
    ran = await ctl("policy", "promote", "intent-default", "--json")
    assert ran.json["policy"]["standing"] == "promoted"
    rows = [line.split("\t") for line in (await ctl("policy", "history")).out.splitlines()]
    assert [row[:2] for row in rows[1:]] == [
        ["intent-default", "trial"],
        ["intent-default", "event"],
        ["intent-default", "event"],
    ]
    assert "retired by uid" in rows[3][2] and rows[3][2].endswith("too slow here")
    for command in ("promote", "retire", "history", "show"):
        ran = await ctl("policy", command, "nothing")
        assert (ran.code, "there is no policy nothing" in ran.err) == (1, True)


async def test_without_a_daemon_only_lint_works(tmp_path: Path) -> None:
    for args in (("list",), ("show", "x"), ("diff", "x", "y"), ("search",), ("retire", "x")):
        assert (await NOWHERE("policy", *args)).code == 3
    (tmp_path / "mine.yaml").write_text(MINE)
    ran = await NOWHERE("policy", "lint", str(tmp_path / "mine.yaml"))
    assert (ran.code, ran.out) == (0, "0 policies and 1 rules would be in force\n"), ran.err
    for args in (("policy",), ("policy", "lint"), ("policy", "lnt", "x"), ("policy", "show")):
        assert (await NOWHERE(*args)).code == 2


async def test_lint_tells_everything_with_place_field_and_fix(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN)
    absent = tmp_path / "absent.yaml"
    ran = await NOWHERE("policy", "lint", str(path), str(absent))
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert any(
        line.startswith(
            f"{path}:3: rules[0].match.executables: unknown key (did you mean executable?"
        )
        for line in lines
    )
    assert any(
        line.startswith(f'{path}:4: rules[1].intent: "fast" is not allowed (') for line in lines
    )
    assert any(line.startswith(f"{absent}: cannot be read: No such file") for line in lines)
    found = json.loads((await NOWHERE("policy", "lint", "--json", str(path))).out)["lint"]
    assert found["passed"] is False
    assert [(e["line"], e["field"]) for e in found["errors"] if e["line"]] == [
        (3, "rules[0].match.executables"),
        (4, "rules[1].intent"),
    ]
    assert all(error["hint"] for error in found["errors"])


async def test_diff_reads_a_file_as_it_would_be_in_force(
    ctl: Schedctl, service: BusService, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BROKEN)
    ran = await ctl("policy", "diff", "intent-default", str(path))
    assert ran.code == 1
    assert f"{path}:3: rules[0].match.executables" in ran.err
    path.write_text(MINE)
    ran = await ctl("policy", "diff", "intent-default", str(path))
    assert (ran.code, "has 0 policies" in ran.err) == (1, True)
