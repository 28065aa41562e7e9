# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the real `schedcp-agent` process, and spies on what it reaches for."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]

# Loaded by the agent's interpreter: writes down every address it connects to or looks up.
_SPY = """
import json, os, sys
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.exec"):
        shown = args[1] if event == "socket.connect" else args[0]
        with open({log!r}, "a") as log:
            log.write(json.dumps([event, repr(shown)]) + "\\n")
sys.addaudithook(hook)
"""


@dataclass(frozen=True)
class AgentProcess:
    socket: Path
    spy_log: Path
    process: subprocess.Popen[bytes]
    port: int

    def seen(self) -> list[tuple[str, str]]:
        lines = self.spy_log.read_text().splitlines() if self.spy_log.exists() else []
        return [tuple(json.loads(line)) for line in lines]


def start_agent(
    directory: Path, config: str, *, name: str = "agent", env: dict[str, str] | None = None
) -> AgentProcess:
    """Starts the process by hand and waits until its socket answers."""
    spy, log = directory / "spy", directory / "spy.log"
    spy.mkdir(exist_ok=True)
    (spy / "sitecustomize.py").write_text(_SPY.format(log=str(log)))
    path, file = directory / f"{name}.sock", directory / f"{name}.yaml"
    file.write_text(config)
    process = subprocess.Popen(
        [sys.executable, "-m", "schedcpd.agent", "--config", str(file), "--socket", str(path)],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{spy}:{ROOT}", **(env or {})},
        stdin=subprocess.DEVNULL,
        stderr=(directory / f"{name}.log").open("ab"),
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(path))
            break
        except OSError:
            assert process.poll() is None, (directory / f"{name}.log").read_text()
            assert time.monotonic() < deadline, "the agent did not listen within 30 s"
            time.sleep(0.05)
    return AgentProcess(path, log, process, 0)


def stop_agent(agent: AgentProcess) -> None:
    agent.process.terminate()
    try:
        agent.process.wait(10)
    except subprocess.TimeoutExpired:
        agent.process.kill()
        agent.process.wait()
