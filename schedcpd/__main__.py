# SPDX-License-Identifier: Apache-2.0
"""The composition root: reads the command line and the configuration, makes every room, runs."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from schedcpd import __version__, config
from schedcpd.bus.service import BusNameTakenError, BusService
from schedcpd.daemon import Daemon
from schedcpd.deploy.admission import GateAdmission
from schedcpd.deploy.client import HostClient
from schedcpd.deploy.manager import DeployManager
from schedcpd.deploy.state import KillSwitch, StateStore
from schedcpd.deploy.token import TokenMinter
from schedcpd.errors import ConfigError, SchedcpError, UnsupportedError
from schedcpd.host import journal
from schedcpd.host.cgroupfs import Cgroup2
from schedcpd.host.clock import SystemClock
from schedcpd.host.inotify import LibcInotify
from schedcpd.host.kernel import read_kernel_build
from schedcpd.host.procfs import Procfs
from schedcpd.host.scx import SysScx
from schedcpd.host.sdnotify import Notifier
from schedcpd.infer.pinstore import PinStore
from schedcpd.learn.store import HistoryStore
from schedcpd.learn.writer import History
from schedcpd.model import KernelBuild
from schedcpd.observe.machine import MachineReader
from schedcpd.observe.observation import Observation
from schedcpd.pipeline import Pipeline, Settings, deploy_limits
from schedcpd.policy import repository

# The attach itself, and opening and verifying the object before it.
_LOAD_MARGIN_S = 30.0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="schedcpd", description="Chooses the CPU scheduler by what applications need."
    )
    parser.add_argument("--config", type=Path, default=None, help="instead of %(default)s")
    parser.add_argument(
        "--check-config", action="store_true", help="print every problem and exit (0: none)"
    )
    parser.add_argument("--bus-address", default=None, help="D-Bus address; the system bus if none")
    parser.add_argument("--version", action="version", version=f"schedcpd {__version__}")
    return parser.parse_args(argv)


def load_settings(path: Path, must_exist: bool, before: repository.Repository | None) -> Settings:
    """Configuration and policies. ConfigError when the configuration is wrong."""
    read = config.load(path, must_exist=must_exist)
    return Settings(read, repository.load(read.policy_dirs, read.bpf_dir, before))


def check(path: Path, must_exist: bool) -> int:
    def policies(read: config.Config) -> Sequence[ConfigError]:
        return repository.load(read.policy_dirs, read.bpf_dir).problems()

    return config.check(path, sys.stdout, policies, must_exist=must_exist)
