# SPDX-License-Identifier: Apache-2.0
"""Takes a virtual-clock sample of somebody's run again, for `schedbench verify`."""

from __future__ import annotations

from dataclasses import replace

from schedbench import arms, workload
from schedbench.arms.base import Arm, LearningArm
from schedbench.errors import BenchError
from schedbench.model import Clock, Sample, Workload
from schedbench.records import ArmRecord, RunRecord, unlike
from schedbench.run.session import told
from schedbench.run.virtual import VirtualRunner, prepare_virtual
from schedcpd.errors import SchedcpError, UnsupportedError
from schedcpd.microvm.cache import Progress


class VirtualAgain:
    """The repeater of bundle.verify. It prepares when it is first asked."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._runner: VirtualRunner | None = None

    async def again(self, record: RunRecord, sample: Sample) -> Sample:
        """The same sample, taken here and now.

        Raises UnsupportedError, naming what differs, where this machine or this tree is not the
        one of the record: other bytes would then prove nothing.
        """
        here = await self._workload(record, sample)
        runner = await self._prepared(record, here)
        arm = await arms.load(sample.key.arm, self._progress)
        described = ArmRecord(arm.name, arm.told_intents, arm.describe())
        mine = replace(record, environment=runner.environment, workloads=(here,), arms=(described,))
        differing = unlike(record, mine)
        if differing:
            raise UnsupportedError(
                f"the sample cannot be repeated here: {', '.join(differing)} differ",
                hint="verify with the schedbench, kernel, image and QEMU build of the bundle",
            )
        fixed = _as_measured(arm, sample)
        script = fixed.script(told(here, fixed, sample.key.seed))
        taken, _ = await runner.take(sample.key, here, script, sample.order)
        return taken

    async def _workload(self, record: RunRecord, sample: Sample) -> Workload:
        try:
            return workload.load(sample.key.workload)
        except SchedcpError as error:
            raise UnsupportedError(f"the sample cannot be repeated here: {error}") from None

    async def _prepared(self, record: RunRecord, here: Workload) -> VirtualRunner:
        if self._runner is None:
            if record.environment.clock is not Clock.VIRTUAL:
                raise BenchError("only virtual-clock samples repeat")
            self._runner = await prepare_virtual(
                record.profile, record.environment.size, [here], self._progress
            )
        return self._runner


def _as_measured(arm: Arm, sample: Sample) -> Arm:
    """The arm; if it learned, with what it had settled on when the sample was taken."""
    if not isinstance(arm, LearningArm):
        return arm
    log = sample.arm_log.get("arm")
    chosen = log.get("configuration") if isinstance(log, dict) else None
    if not isinstance(chosen, dict):
        raise BenchError(f"the sample {sample.key} does not say what {sample.key.arm} had learned")
    return arm.configured(chosen)
