# SPDX-License-Identifier: Apache-2.0
"""What the pipeline works by: configuration and repository as read at one moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schedcpd.config import Config
from schedcpd.deploy.ports import Limits
from schedcpd.policy.repository import Repository


@dataclass(frozen=True, slots=True)
class Settings:
    """What was read from files at one moment."""

    config: Config
    repository: Repository


Load = Callable[[Repository | None], Settings]  # raises ConfigError; blocking


def deploy_limits(config: Config) -> Limits:
    return Limits(
        max_per_hour=config.deploy.max_per_hour,
        hold_down_s=config.deploy.hold_down_s,
        canary_s=config.deploy.canary_s,
        watch_s=config.deploy.watch_s,
        tail_rise=config.deploy.tail_rise,
        tail_floor_us=config.deploy.tail_floor_us,
        pressure_rise=config.deploy.pressure_rise,
        errors_per_s=config.deploy.errors_per_s,
        heartbeats=config.deploy.heartbeats,
        quarantine_s=config.deploy.quarantine_s,
        setbacks_per_hour=config.deploy.setbacks_per_hour,
        program_s=config.external.start_timeout_s,
    )
