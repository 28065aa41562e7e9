# SPDX-License-Identifier: Apache-2.0
"""One scheduler object in the kernel: prepared, attached, proven, read and written, ended.

The scheduler host runs it on the machine and `verify`'s probe in the micro-VM: what is proved is
what is loaded.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schedcpd.errors import (
    InvalidArgumentError,
    NotFoundError,
    SchedulerHostError,
    UnsupportedError,
)
from schedcpd.host.btf import Btf
from schedcpd.host.libbpf import BPF_NOEXIST, LIVE, BpfLink, BpfMap, BpfObject, kernel_btf
from schedcpd.host.libbpf import pack_u32 as u32
from schedcpd.host.libbpf import pack_u64 as u64
from schedcpd.host.scx import ScxSnapshot
from schedcpd.model import ExitRecord, IntentClass, ScxState, Tunable

# enum wanted_flag of bpf/include/intent.h -> enum scx_ops_flags of the kernel
WANTED_FLAGS = (
    "SCX_OPS_ENQ_LAST",
    "SCX_OPS_ENQ_EXITING",
    "SCX_OPS_ENQ_MIGRATION_DISABLED",
    "SCX_OPS_HAS_CGROUP_WEIGHT",
    "SCX_OPS_KEEP_BUILTIN_IDLE",
    "SCX_OPS_ALLOW_QUEUED_WAKEUP",
)
# What is lost where a kernel lacks an op of ours or a flag (kernel/sched/ext.c).
LOSSES = {
    "cgroup_set_bandwidth": "cpu.max of cgroups is not kept",
    "cgroup_set_idle": "cpu.idle of cgroups is not heeded",
    "SCX_OPS_ENQ_MIGRATION_DISABLED": "a task that must not migrate now goes before all others",
    "SCX_OPS_ALLOW_QUEUED_WAKEUP": "a wake-up of another CPU's task costs that CPU's lock",
}
HIST_BUCKETS = 64
_STATS = struct.Struct(f"={4 + HIST_BUCKETS}Q")  # struct intent_stats
_RECORD = struct.Struct("=Qq128s1024s")  # struct exit_record
_ZERO = u32(0)

IntentSet = Iterable[tuple[int, IntentClass]]


def ops_flags(wanted: int, known: Mapping[str, int]) -> int:
    """The flags a scheduler wants of those this kernel has. An unknown wish is an error."""
    if wanted >> len(WANTED_FLAGS):
        raise InvalidArgumentError(
            f"wanted_flags: {wanted:#x} has bits nobody knows", hint="see bpf/include/intent.h"
        )
    flags = 0
    for bit, name in enumerate(WANTED_FLAGS):
        if wanted >> bit & 1:
            flags |= known.get(name, 0)
    return flags


def losses(missing: Iterable[str]) -> tuple[str, ...]:
    """A sentence for each op or flag that a kernel lacks: what its user loses."""
    return tuple(LOSSES.get(name, f"it has no {name}") for name in missing)


@dataclass(frozen=True, slots=True)
class Stats:
    """What one class or cgroup got since its entry exists; `delay_hist` is log2 of ns."""

    runs: int
    preemptions: int
    run_ns: int
    delay_ns: int
    delay_hist: tuple[int, ...]

    @classmethod
    def of(cls, percpu: Iterable[bytes]) -> Stats:
        totals = [0] * (4 + HIST_BUCKETS)
        for value in percpu:
            if any(value):
                totals = [a + b for a, b in zip(totals, _STATS.unpack_from(value), strict=True)]
        runs, preemptions, run_ns, delay_ns = totals[:4]
        return cls(runs, preemptions, run_ns, delay_ns, tuple(totals[4:]))

    def since(self, before: Stats) -> Stats:
        return Stats(
            self.runs - before.runs,
            self.preemptions - before.preemptions,
            self.run_ns - before.run_ns,
            self.delay_ns - before.delay_ns,
            tuple(a - b for a, b in zip(self.delay_hist, before.delay_hist, strict=True)),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "preemptions": self.preemptions,
            "run_ns": self.run_ns,
            "delay_ns": self.delay_ns,
            "delay_hist": list(self.delay_hist),
        }


class Scheduler:
    """An object loaded into the kernel. `attach` starts it; `close` ends it, whatever happened."""

    def __init__(
        self,
        data: bytes,
        name: str,
        ops: str,
        tunables: Mapping[str, Tunable],
        before_load: Callable[[BpfObject], None] = lambda prepared: None,
    ) -> None:
        """Loads `data` with `tunables`; nothing is attached yet. Seconds on a slow machine.

        `ops` is the name the manifest declares; InvalidArgumentError when the object has another.
        `before_load` sees the object when everything is set.
        """
        self.name, self.tunables = name, dict(tunables)
        self._before: dict[str, Stats] = {}  # counted under the tunables before these
        self._link: BpfLink | None = None
        self._object = BpfObject(data, name)
        try:
            self.ops_name = self._object.ops_name()
            if self.ops_name != ops:
                raise InvalidArgumentError(
                    f"{name}: the object's ops are {self.ops_name!r}, the manifest's {ops!r}"
                )
            with kernel_btf() as kernel:
                self.without = self._fit(kernel)
            self._object.set_globals(tunables)
            before_load(self._object)
            self._object.load()
            self._maps: dict[str, BpfMap | None] = {
                key: self._object.map(key)
                for key in (
                    "intents",
                    "intents_generation",
                    "class_stats",
                    "cgroup_stats",
                    "exit_record",
                    "exit_dump",
                    "exit_wake",
                )
            }
        except BaseException:
            self._object.close()
            raise

    def _fit(self, kernel: Btf) -> tuple[str, ...]:
        known = kernel.enum("scx_ops_flags")
        if not known:
            raise UnsupportedError("this kernel's BTF has no sched_ext")
        wanted = int(self._object.globals().get("wanted_flags", 0))
        dropped = self._object.fit_ops(ops_flags(wanted, known), kernel)
        flags = (name for bit, name in enumerate(WANTED_FLAGS) if wanted >> bit & 1)
        return losses([*dropped, *(name for name in flags if name in LOSSES and name not in known)])

    # ------------------------------------------------------------ life

    @property
    def wake_fd(self) -> int | None:
        """Readable once the kernel ended the scheduler; None: this object cannot tell."""
        found = self._maps["exit_wake"]
        return found.fd if found else None

    @property
    def alive(self) -> bool:
        """Whether something of it may yet say why it ended: the kernel alone does."""
        return False

    def runs(self, now: ScxSnapshot) -> bool:
        """Whether this is what the kernel runs."""
        return now.state is ScxState.ENABLED and now.ops == self.ops_name

    def unexplained(self, now: ScxSnapshot) -> ExitRecord:
        """The kernel runs it no more and told ops.exit() nothing."""
        return ExitRecord(
            0, 0, "unknown", f"the kernel's state became {now.state.value}, ops {now.ops!r}"
        )

    def attach(self, look: Callable[[], ScxSnapshot], timeout_s: float) -> ScxSnapshot:
        """Starts the scheduler and proves that it runs, or raises and leaves nothing attached.

        The proof (an attach alone proves nothing): the state is `enabled`, the ops are ours and
        ops.exit() has not been called.
        """
        deadline = time.monotonic() + timeout_s
        while True:  # -EBUSY while the kernel still takes the previous one apart
            try:
                self._link = self._object.attach()
                break
            except SchedulerHostError:
                state = look().state
                if state is not ScxState.DISABLING or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
        while True:
            now = look()
            if record := self.exit_record():
                self.detach()
                raise SchedulerHostError(
                    f"the kernel ended {self.name} at once: {record.kind_name}, "
                    f"{record.reason}: {record.message}",
                    hint="the journal of the kernel has more",
                )
            if now.state is ScxState.ENABLED and now.ops == self.ops_name:
                return now
            if now.state is ScxState.DISABLED:  # attaching waits until the kernel has enabled it
                self.detach()
                raise SchedulerHostError(
                    f"the kernel ended {self.name} at once and it kept no record of why",
                    hint="the journal of the kernel has more",
                )
            if time.monotonic() > deadline:
                self.detach()
                raise SchedulerHostError(
                    f"{self.name} was attached, but after {timeout_s:g} s the kernel's state is "
                    f"{now.state.value} with ops {now.ops!r}"
                )
            time.sleep(0.001)

    def retune(self, tunables: Mapping[str, Tunable]) -> None:
        """Changes live tunables of the running scheduler; class_stats() count from here.

        InvalidArgumentError when one that differs is not live; nothing has changed then.
        """
        changed = {k: v for k, v in tunables.items() if self.tunables.get(k) != v}
        counted = self._counted()
        self._object.set_globals(changed, (LIVE,))
        self.tunables, self._before = dict(tunables), counted

    def detach(self) -> None:
        """Every task is back in the kernel's default when this returns."""
        if self._link is not None:
            link, self._link = self._link, None
            link.close()

    def close(self) -> None:
        self.detach()
        self._maps = dict.fromkeys(self._maps)
        self._object.close()

    def exit_record(self) -> ExitRecord | None:
        """What the kernel told ops.exit(); None while it has not been called."""
        found = self._maps["exit_record"]
        raw = found.lookup(_ZERO) if found else None
        if raw is None:
            return None
        kind, code, reason, message = _RECORD.unpack_from(raw)
        if not kind:
            return None
        dump = self._maps["exit_dump"]
        text = dump.lookup(_ZERO) if dump else None
        return ExitRecord(kind, code, _text(reason), _text(message), _text(text or b""))

    # ------------------------------------------------------------ maps

    def _need(self, name: str) -> BpfMap:
        found = self._maps[name]
        if found is None:
            raise NotFoundError(f"scheduler {self.name} has no map {name}")
        return found

    def set_intents(self, entries: IntentSet, delete: Iterable[int]) -> int:
        """Writes and deletes, then tells the scheduler to look again; returns how many changed."""
        intents = self._need("intents")
        stats = self._maps["cgroup_stats"]
        written = 0
        for cgroup, intent in entries:
            if stats is not None:
                stats.update(u64(cgroup), bytes(stats.value_size), BPF_NOEXIST)
            intents.update(u64(cgroup), u32(intent.wire))
            written += 1
        for cgroup in delete:
            if stats is not None:
                stats.delete(u64(cgroup))
            written += intents.delete(u64(cgroup))
        if written:
            generation = self._need("intents_generation")
            old = struct.unpack("=Q", generation.lookup(_ZERO) or bytes(8))[0]
            generation.update(_ZERO, u64(old + 1))
        return written

    def class_stats(self) -> dict[str, Stats]:
        """Since these tunables stand."""
        return {
            name: now.since(self._before[name]) if name in self._before else now
            for name, now in self._counted().items()
        }

    def _counted(self) -> dict[str, Stats]:
        found = self._need("class_stats")
        return {
            intent.value: Stats.of(found.lookup_percpu(u32(intent.wire)) or ())
            for intent in IntentClass
        }

    def cgroup_stats(self, cgroups: Iterable[int] | None) -> dict[int, Stats]:
        """Of those asked for that have an intent; of all with None."""
        found = self._need("cgroup_stats")
        keys = found.keys() if cgroups is None else (u64(cgroup) for cgroup in cgroups)
        values = ((key, found.lookup_percpu(key)) for key in keys)
        return {
            struct.unpack("=Q", key)[0]: Stats.of(percpu)
            for key, percpu in values
            if percpu is not None
        }


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
