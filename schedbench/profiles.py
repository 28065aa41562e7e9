# SPDX-License-Identifier: Apache-2.0
"""The machines: what a profile is called, and what it is under each clock."""

from __future__ import annotations

from schedbench.errors import BenchError
from schedbench.model import Profile
from schedbench.vclock.machine import Machine
from schedcpd.host.yamlfields import one_of
from schedcpd.microvm import VmSpec

DEFAULT = "cpus4"
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("cpus2", cores=2),
        Profile("cpus4", cores=4),
        Profile("cpus8", cores=8, memory_mib=2048),
        Profile("llc2", dies=2, cores=2),  # two dies, an L3 cache each
        Profile("smt", cores=2, threads=2),
        Profile("numa2", sockets=2, cores=2, numa_nodes=2),
    )
}
TITLES = {
    "cpus2": "2 CPUs",
    "cpus4": "4 CPUs",
    "cpus8": "8 CPUs",
    "llc2": "4 CPUs, 2 last-level caches",
    "smt": "4 CPUs: 2 cores of 2 threads",
    "numa2": "4 CPUs, 2 sockets, 2 NUMA nodes",
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises BenchError that lists them all."""
    found = PROFILES.get(name)
    if found is None:
        raise BenchError(f"there is no profile {name!r}", hint=one_of(name, PROFILES))
    return found


def vcpus(of: Profile) -> int:
    return of.sockets * of.dies * of.cores * of.threads


def is_virtual(of: Profile) -> bool:
    """Whether the profile means anything under the virtual clock: it has nothing but CPUs."""
    return (of.sockets, of.dies, of.threads, of.numa_nodes) == (1, 1, 1, 1)


def vm_spec(of: Profile) -> VmSpec:
    """The machine under the wall clock, with the micro-VM's own image and kernel."""
    return VmSpec(
        sockets=of.sockets,
        dies=of.dies,
        cores=of.cores,
        threads=of.threads,
        numa_nodes=of.numa_nodes,
        memory_mib=of.memory_mib,
    )


def machine(of: Profile) -> Machine:
    """The machine under the virtual clock, which knows CPUs but neither caches, threads nor nodes.

    Raises BenchError for a profile whose point is one of these.
    """
    if not is_virtual(of):
        raise BenchError(
            f"profile {of.name} has no meaning under the virtual clock: an instruction costs the "
            "same on every CPU of it",
            hint="use --clock wall, or one of: "
            + ", ".join(name for name, it in PROFILES.items() if is_virtual(it)),
        )
    return Machine(vcpus=of.cores, insn_ps=of.insn_ps, memory_mib=of.memory_mib)
