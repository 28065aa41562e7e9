# SPDX-License-Identifier: Apache-2.0
"""Why things are as they are: the chain from a signal to the last outcome, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedcpd.deploy.admission import GateAdmission
from schedcpd.deploy.manager import DeployManager
from schedcpd.deploy.measure import measures_of, measures_of_one
from schedcpd.errors import SchedcpError
from schedcpd.infer.questions import AgentClient
from schedcpd.learn import records
from schedcpd.model import Outcome, Signal, Status, WorkloadView
from schedcpd.plan.situation import Plan


class Explainer:
    """Reads the rooms; changes nothing."""

    def __init__(self, deploy: DeployManager, admission: GateAdmission, agent: AgentClient) -> None:
        self._deploy, self._admission, self._agent = deploy, admission, agent

    async def explain(
        self,
        status: Status,
        view: WorkloadView | None,
        signal: Signal | None,
        plan: Plan | None,
        last: Outcome | None,
    ) -> Mapping[str, object]:
        """Of one workload, or of the whole machine when `view` is None."""
        found: dict[str, Any] = {"state": status.state, "reason": status.reason}
        if view is not None:
            found["signal"] = records.plain(signal)
            found["workload"] = records.workload_json(view)
            found["intent"] = records.intent_json(view)
            found["agent"] = self._agent.why(view.profile)
        found["measures"] = await self._measures(view.profile.cgroup_id if view else None)
        current = self._deploy.view().current
        trial = self._deploy.trial
        verdict = self._admission.verdict(current.verdict_id) if current else None
        return {
            **found,
            "candidate": records.candidate_json(plan.candidate) if plan else None,
            "verdict": records.plain(verdict),
            "deployment": records.plain(current),
            "canary": trial.shown() if trial else None,
            "last_outcome": records.outcome_json(last) if last else None,
        }

    async def _measures(self, cgroup_id: int | None) -> dict[str, float] | None:
        """What the running scheduler counted; None when none of ours runs."""
        if self._deploy.view().current is None:
            return None
        try:
            if cgroup_id is None:
                return records.measures_json(measures_of(await self._deploy.stats(())))
            stats = await self._deploy.stats((cgroup_id,))
        except SchedcpError:
            return None
        one = stats.get("cgroups", {}).get(str(cgroup_id))
        return records.measures_json(measures_of_one(one)) if one else None
