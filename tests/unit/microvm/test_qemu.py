# SPDX-License-Identifier: Apache-2.0
"""Specs, command lines and keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import InvalidArgumentError
from schedcpd.microvm import Accelerator, ThreadMode, VmSpec
from schedcpd.microvm.cache import content_key
from schedcpd.microvm.qemu import Parts, command_line, topology_args

PARTS = Parts(
    vmlinuz=Path("/k/vmlinuz"),
    initrd=Path("/k/initrd"),
    disk=Path("/d/disk.qcow2"),
    payload=Path("/d/payload"),
    console=Path("/d/console.log"),
    agent_fd=11,
    qmp_fd=12,
    incoming=False,
)


def value_of(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def test_topology() -> None:
    args = topology_args(VmSpec(sockets=2, dies=2, cores=3, threads=2, numa_nodes=2))
    assert value_of(args, "-smp") == "24,sockets=2,dies=2,cores=3,threads=2"
    assert [a for a in args if a.startswith("node,")] == [
        "node,nodeid=0,cpus=0-11,memdev=node0",
        "node,nodeid=1,cpus=12-23,memdev=node1",
    ]
    assert "-numa" not in topology_args(VmSpec())


@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 2), st.integers(1, 4)
)
def test_numa_nodes_cover_every_cpu_once(
    sockets: int, dies: int, cores: int, threads: int, nodes: int
) -> None:
    vcpus = sockets * dies * cores * threads
    fields: dict[str, Any] = {"sockets": sockets, "dies": dies, "cores": cores, "threads": threads}
    if vcpus % nodes:
        with pytest.raises(InvalidArgumentError, match="numa_nodes"):
            VmSpec(**fields, numa_nodes=nodes, memory_mib=1200)
        return
    args = topology_args(VmSpec(**fields, numa_nodes=nodes, memory_mib=1200))
    seen: list[int] = []
    for arg in args:
        if arg.startswith("node,"):
            first, _, last = arg.split("cpus=")[1].split(",")[0].partition("-")
            seen += range(int(first), int(last) + 1)
    assert seen == (list(range(vcpus)) if nodes > 1 else [])


def test_tcg_thread_mode_and_kvm() -> None:
    multi = command_line(VmSpec(), Accelerator.TCG, PARTS)
    single = command_line(VmSpec(thread=ThreadMode.SINGLE), Accelerator.TCG, PARTS)
    kvm = command_line(VmSpec(), Accelerator.KVM, PARTS)
    assert value_of(multi, "-accel") == "tcg,thread=multi"
    assert value_of(single, "-accel") == "tcg,thread=single"
    assert value_of(kvm, "-accel") == "kvm" and value_of(kvm, "-cpu").startswith("host")


def test_guest_has_no_network_and_payload_is_read_only() -> None:
    argv = command_line(VmSpec(), Accelerator.TCG, PARTS)
    assert value_of(argv, "-nic") == "none" and "-nodefaults" in argv
    (payload,) = [arg for arg in argv if "file=/d/payload" in arg]
    assert "read-only=on" in payload
    assert "-incoming" not in argv
    assert "-incoming" in command_line(VmSpec(), Accelerator.TCG, replace(PARTS, incoming=True))


def test_kernel_command_line_is_extended() -> None:
    argv = command_line(VmSpec(cmdline="isolcpus=1"), Accelerator.TCG, PARTS)
    assert value_of(argv, "-append").endswith(" isolcpus=1")
    assert "oops=panic" in value_of(argv, "-append")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cores": 0}, "cores"),
        ({"sockets": -1}, "sockets"),
        ({"cores": 300}, "vCPUs"),
        ({"memory_mib": 64}, "memory_mib"),
        ({"cores": 3, "numa_nodes": 3, "memory_mib": 1000}, "memory_mib"),
    ],
)
def test_wrong_specs_name_the_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        VmSpec(**fields)


def test_fingerprint_changes_with_every_field() -> None:
    base = VmSpec()
    changed = [
        replace(base, cores=2), replace(base, memory_mib=2048), replace(base, cmdline="x"),
        replace(base, thread=ThreadMode.SINGLE), replace(base, qemu_args=("-S",)),
    ]  # fmt: skip
    assert len({spec.fingerprint() for spec in [base, *changed]}) == 6
    assert base.fingerprint() == VmSpec().fingerprint()


def test_content_key_separates_its_parts() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("a", b"b") == content_key("a", "b")
