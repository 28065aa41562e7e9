# SPDX-License-Identifier: Apache-2.0
"""The loop that sequences the rooms: signal, profile, intent, plan, gate, deploy, outcome."""

from schedcpd.pipeline.loop import Pipeline
from schedcpd.pipeline.settings import Load, Settings, deploy_limits

__all__ = ["Load", "Pipeline", "Settings", "deploy_limits"]
