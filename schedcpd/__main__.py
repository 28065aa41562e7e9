# SPDX-License-Identifier: Apache-2.0
"""The composition root: reads the command line and the configuration, makes every room, runs."""

from __future__ import annotations

# isort: off
import schedcpd.host.lean  # noqa: F401 - before anything that would import what it keeps out

# isort: on
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
from schedcpd.deploy.token_key import KEY_PATH
from schedcpd.errors import ConfigError, SchedcpError, UnsupportedError
from schedcpd.host import journal
from schedcpd.host.cgroupfs import Cgroup2
from schedcpd.host.clock import SystemClock
from schedcpd.host.containers import ContainerFiles
from schedcpd.host.inotify import LibcInotify
from schedcpd.host.kernel import read_kernel_build
from schedcpd.host.procfs import Procfs
from schedcpd.host.program_file import Programs
from schedcpd.host.scx import SysScx
from schedcpd.host.sdnotify import Notifier
from schedcpd.host.vitals import SysVitals
from schedcpd.infer.agent_client import AgentClient
from schedcpd.infer.pinstore import PinStore
from schedcpd.learn.store import HistoryStore
from schedcpd.learn.writer import History
from schedcpd.model import KernelBuild
from schedcpd.observe.machine import MachineReader
from schedcpd.observe.observation import Observation
from schedcpd.pipeline import Pipeline, Settings, deploy_limits
from schedcpd.policy import repository
from schedcpd.policy.library import Library
from schedcpd.verify.child import Children
from schedcpd.verify.door import Door, WorkshopMaker
from schedcpd.verify.gate import Gate
from schedcpd.verify.store import VerdictStore

# The attach itself, and opening and verifying the object before it.
_LOAD_MARGIN_S = 30.0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="schedcpd", description="Chooses the CPU scheduler by what applications need."
    )
    parser.add_argument(
        "--config", type=Path, default=None, help=f"instead of {config.DEFAULT_FILE}"
    )
    parser.add_argument(
        "--check-config", action="store_true", help="print every problem and exit (0: none)"
    )
    parser.add_argument("--bus-address", default=None, help="D-Bus address; the system bus if none")
    parser.add_argument("--version", action="version", version=f"schedcpd {__version__}")
    return parser.parse_args(argv)


def load_settings(path: Path, must_exist: bool, before: repository.Repository | None) -> Settings:
    """Configuration and policies. ConfigError when the configuration is wrong."""
    read = config.load(path, must_exist=must_exist)
    programs = Programs(read.external.enabled)
    return Settings(read, repository.load(read.policy_dirs, read.bpf_dir, before, programs))


def check(path: Path, must_exist: bool) -> int:
    def policies(read: config.Config) -> Sequence[ConfigError]:
        return repository.load(read.policy_dirs, read.bpf_dir).problems()

    return config.check(path, sys.stdout, policies, must_exist=must_exist)


def build(
    settings: Settings,
    path: Path,
    must_exist: bool,
    bus_address: str | None,
    root: Path = Path("/"),
) -> Daemon:
    """Every room, made once and handed its collaborators. `root`: whose /sys says what runs."""
    read, clock = settings.config, SystemClock()
    cgroups, processes, scx = Cgroup2(read.cgroup_root), Procfs(), SysScx(root)
    unsupported, kernel = cgroups.unusable(), KernelBuild("", "", "")
    try:
        kernel = read_kernel_build(root)
    except UnsupportedError as error:
        unsupported = unsupported or str(error)
    history = History(
        HistoryStore(
            read.state_dir / "history.sqlite",
            clock,
            keep_days=read.history.keep_days,
            max_rows=read.history.max_rows,
        )
    )
    agent = AgentClient(
        read.agent,
        state=read.state_dir / "agent-memory.json",
        clock=clock,
        on_record=history.add,
    )
    key = read.state_dir / KEY_PATH.name
    admission = GateAdmission(_gate(read), kernel, lambda: TokenMinter.open(key))

    def applied(new: Settings) -> None:
        logging.getLogger().setLevel(new.config.log_level.upper())
        admission.use(_gate(new.config))
        agent.reconfigure(new.config.agent)

    observation = Observation(
        cgroups,
        processes,
        LibcInotify,
        clock,
        relook_ms=read.observe.relook_ms,
        sample_s=read.observe.sample_s,
        ignore=read.observe.ignore,
        containers=ContainerFiles(root),
    )
    pipeline = Pipeline(
        settings=settings,
        load=lambda before: load_settings(path, must_exist, before),
        applied=applied,
        observation=observation,
        machine=MachineReader(root),
        deploy=DeployManager(
            host=HostClient(
                read.run_dir / "scheduler.sock",
                load_timeout_s=read.deploy.attach_timeout_s + _LOAD_MARGIN_S,
            ),
            admission=admission,
            scx=scx,
            vitals=SysVitals(root),
            clock=clock,
            store=StateStore(read.state_dir / "deploy.json"),
            kill_switch=KillSwitch(read.state_dir / "kill-switch"),
            limits=deploy_limits(read),
            kernel_build_id=kernel.build_id,
            unsupported=unsupported,
        ),
        admission=admission,
        history=history,
        pins=PinStore(read.state_dir / "pins.json"),
        agent=agent,
        library=Library(read.state_dir / "policies.sqlite", clock),
        workshop=_workshop(read),
        verdicts=VerdictStore(read.verdict_dirs[0], read.verdict_dirs[-1]).find_any_kernel,
        clock=clock,
        kernel=kernel.release or scx.kernel(),
    )
    return Daemon(pipeline, BusService(pipeline, bus_address=bus_address), Notifier())


def _workshop(read: config.Config) -> Door:
    """Never in the daemon's own process: it stays small, and its unit may not do that."""
    return Door(read.run_dir / "verify.sock", Children())


def _gate(read: config.Config) -> Gate:
    shipped, local = read.verdict_dirs[0], read.verdict_dirs[-1]
    return Gate(
        VerdictStore(shipped, local),
        WorkshopMaker(_workshop(read)),
        require_local_verdict=read.require_local_verdict,
        programs=Programs(read.external.enabled),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """0: ended in order or nothing wrong; 1: failed; 2: usage."""
    given = arguments(argv)
    path, must_exist = given.config or config.DEFAULT_FILE, given.config is not None
    if given.check_config:
        return check(path, must_exist)
    try:
        settings = load_settings(path, must_exist, None)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    trouble = journal.set_up(settings.config.log_level)
    if trouble:
        logging.getLogger(__name__).warning("%s", trouble)
    try:
        asyncio.run(build(settings, path, must_exist, given.bus_address).run())
    except BusNameTakenError as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    except SchedcpError as error:
        logging.getLogger(__name__).exception("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
