# SPDX-License-Identifier: Apache-2.0
"""What the nouns look like on the bus: names, types and values of properties; JSON of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from schedcpd.errors import SchedcpError
from schedcpd.model import LearnedRecord, Status, WorkloadView

BUS_NAME = "org.schedcp.SchedCP1"
ROOT_PATH = "/org/schedcp/SchedCP1"
WORKLOADS_PATH = ROOT_PATH + "/workloads"
WORKLOAD_INTERFACE = BUS_NAME + ".Workload"

JSON_VERSION = 1
"""The `version` of every JSON document; it grows when a field changes its meaning or goes away."""

MAX_JSON = 8 * 1024 * 1024

MANAGER_PROPERTIES: Mapping[str, str] = {
    "Version": "s",
    "State": "s",
    "StateReason": "s",
    "Kernel": "s",
    "Scheduler": "s",
    "Policy": "s",
    "PolicySource": "s",
    "DeploymentId": "s",
    "VerdictId": "s",
    "LastKnownGood": "s",
    "Inference": "s",
    "Agent": "s",
    "KillSwitch": "b",
    "Workloads": "u",
}

WORKLOAD_PROPERTIES: Mapping[str, str] = {
    "Cgroup": "s",
    "CgroupId": "t",
    "Kind": "s",
    "Name": "s",
    "Unit": "s",
    "Slice": "s",
    "DesktopId": "s",
    "Container": "s",
    "Executable": "s",
    "Comm": "s",
    "Uid": "x",
    "Executables": "as",
    "Populated": "b",
    "Processes": "u",
    "SeenNs": "t",
    "CpuUsageUsec": "t",
    "CpuWeight": "u",
    "PressureAvg10": "d",
    "PressureAvg60": "d",
    "PressureTotalUsec": "t",
    "Intent": "s",
    "IntentSource": "s",
    "IntentReason": "s",
    "IntentRule": "s",
    "IntentConfidence": "d",
    "IntentModel": "s",
    "Pinned": "b",
}

NO_UID = -1


def manager_values(status: Status, version: str) -> dict[str, Any]:
    return {
        "Version": version,
        "State": status.state.value,
        "StateReason": status.reason,
        "Kernel": status.kernel,
        "Scheduler": status.scheduler,
        "Policy": status.policy,
        "PolicySource": status.policy_source,
        "DeploymentId": status.deployment_id,
        "VerdictId": status.verdict_id,
        "LastKnownGood": status.last_known_good,
        "Inference": status.inference.value,
        "Agent": status.agent,
        "KillSwitch": status.kill_switch,
        "Workloads": status.workloads,
    }


def workload_values(view: WorkloadView) -> dict[str, Any]:
    profile, intent = view.profile, view.intent
    who = profile.identity
    return {
        "Cgroup": profile.cgroup,
        "CgroupId": profile.cgroup_id,
        "Kind": who.kind.value,
        "Name": who.name,
        "Unit": who.unit,
        "Slice": who.slice,
        "DesktopId": who.desktop_id,
        "Container": who.container,
        "Executable": who.executable,
        "Comm": who.comm,
        "Uid": NO_UID if who.uid is None else who.uid,
        "Executables": list(profile.executables),
        "Populated": profile.populated,
        "Processes": profile.nr_procs,
        "SeenNs": profile.seen_ns,
        "CpuUsageUsec": profile.cpu_usage_us,
        "CpuWeight": profile.cpu_weight,
        "PressureAvg10": profile.pressure.avg10,
        "PressureAvg60": profile.pressure.avg60,
        "PressureTotalUsec": profile.pressure.total_us,
        "Intent": intent.intent_class.value,
        "IntentSource": intent.source.value,
        "IntentReason": intent.reason,
        "IntentRule": intent.rule,
        "IntentConfidence": intent.confidence,
        "IntentModel": intent.model,
        "Pinned": view.pinned,
    }


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of `new` that differ from `old`."""
    return {name: value for name, value in new.items() if old.get(name) != value}


def object_path(workload_id: str) -> str:
    """The object of a workload. Ids are decimal; anything else is escaped as systemd does."""
    safe = "".join(
        char if char.isascii() and char.isalnum() else "".join(f"_{b:02x}" for b in char.encode())
        for char in workload_id
    )
    return f"{WORKLOADS_PATH}/{safe or '_'}"


def record_values(record: LearnedRecord) -> dict[str, Any]:
    return {**asdict(record), "kind": record.kind.value, "data": dict(record.data)}


def document(name: str, content: object) -> str:
    """`{"version": 1, name: content}`. SchedcpError: it is too large to be sent."""
    text = json.dumps({"version": JSON_VERSION, name: content}, ensure_ascii=True)
    if len(text) > MAX_JSON:
        raise SchedcpError(
            f"the answer has {len(text)} bytes, more than {MAX_JSON}", hint="ask for less at once"
        )
    return text
