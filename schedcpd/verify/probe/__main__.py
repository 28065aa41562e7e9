# SPDX-License-Identifier: Apache-2.0
"""The probe: `python3 probe.pyz kernel`, `… load SPEC`, `… behaviour SPEC`.

Prints one JSON object a line, each with `event`, and `done` last:

    kernel      {"kernel": {release, version, build_id}}
    load        for each variant: loading {name}; then
                loaded {name, seconds, programs: [{name, instructions, states, log}]}
                or rejected {name, message, log}
    behaviour   control {idle, …measure}; for each run: attaching {name}, then
                not-enabled {name, message, exit} or
                measured {name, tunables, attach_seconds, idle, exit, …measure};
                with `hotplug`, last: attaching {name}, hotplug {name, cpu, healthy, exit}
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from schedcpd.host.kernel import read_kernel_build
from schedcpd.verify.probe.loader import RejectedError, attached, load_only
from schedcpd.verify.probe.measure import above_everyone, conserve, measure, unplug


def say(event: str, **values: Any) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def kernel() -> None:
    say("kernel", kernel=asdict(read_kernel_build()))


def load(spec: dict[str, Any]) -> None:
    data = Path(spec["object"]).read_bytes()
    for one in spec["loads"]:
        say("loading", name=one["name"])
        began = time.monotonic()
        try:
            programs = load_only(data, spec["ops"], one["tunables"])
        except RejectedError as error:
            say("rejected", name=one["name"], message=error.message, log=error.log)
            break
        say("loaded", name=one["name"], programs=programs, seconds=time.monotonic() - began)
    say("done")


def behaviour(spec: dict[str, Any]) -> None:
    data = Path(spec["object"]).read_bytes()
    above_everyone()
    say("control", idle=conserve(), **measure(spec["control_seconds"], lambda: True))
    for number, run in enumerate(spec["runs"]):
        say("attaching", name=run["name"])
        began = time.monotonic()
        try:
            with attached(data, spec["ops"], run["tunables"]) as scheduler:
                seconds = time.monotonic() - began
                idle = {} if number else conserve()
                result = measure(run["seconds"], scheduler.healthy, scheduler.detach)
        except RejectedError as error:
            say("not-enabled", name=run["name"], message=error.message, exit=error.log)
            break
        say(
            "measured",
            name=run["name"],
            tunables=run["tunables"],
            attach_seconds=seconds,
            idle=idle,
            exit=scheduler.exit_text(),
            **result,
        )
        if not result["healthy"]:
            break
    else:
        if spec["hotplug"]:
            hotplug(data, spec["ops"], spec["runs"][0])
    say("done")


def hotplug(data: bytes, ops: str, run: dict[str, Any]) -> None:
    say("attaching", name=run["name"])
    with attached(data, ops, run["tunables"]) as scheduler:
        cpu, healthy = unplug(scheduler.healthy)
        scheduler.detach()
    say("hotplug", name=run["name"], cpu=cpu, healthy=healthy, exit=scheduler.exit_text())


def main() -> None:
    command, *rest = sys.argv[1:]
    if command == "kernel":
        kernel()
        return
    spec = json.loads(Path(rest[0]).read_text(encoding="utf-8"))
    {"load": load, "behaviour": behaviour}[command](spec)


if __name__ == "__main__":
    main()
