# SPDX-License-Identifier: Apache-2.0
"""What systemd lets the agent do, as systemd itself reads the shipped units."""

from __future__ import annotations

import configparser
import re
import subprocess

from schedcpd.agent.config import CREDENTIAL, NO_KEY
from schedcpd.config import AgentConfig
from tests.unit.agent.process import ROOT

SERVICE = ROOT / "systemd" / "schedcp-agent.service"
SOCKET = ROOT / "systemd" / "schedcp-agent.socket"


def settings(path: object, section: str) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    assert parser.read(str(path))
    return dict(parser[section])


def test_no_privilege_and_the_key_by_credential() -> None:
    service = settings(SERVICE, "Service")
    assert service["DynamicUser"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["NoNewPrivileges"] == "yes"
    assert service["RestrictAddressFamilies"] == "AF_UNIX AF_INET AF_INET6"
    assert service["LoadCredential"] == f"{CREDENTIAL}:/etc/schedcp/agent-api-key"
    assert service["SetCredential"] == f"{CREDENTIAL}:{NO_KEY}"


def test_only_root_reaches_it_where_the_daemon_looks() -> None:
    socket = settings(SOCKET, "Socket")
    assert socket["ListenStream"] == str(AgentConfig().socket)
    assert (socket["SocketUser"], socket["SocketMode"]) == ("root", "0600")


def test_exposure() -> None:
    """safety.md's draft scored 1.2; below 2 systemd calls it OK."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVICE)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for schedcp-agent.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert "ignoring" not in done.stdout + done.stderr, "systemd understands every line"
    assert float(found[1]) <= 1.5  # 1.2 by systemd 252
