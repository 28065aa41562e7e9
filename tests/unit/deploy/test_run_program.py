# SPDX-License-Identifier: Apache-2.0
"""The scheduler host and an external scheduler: a real process, a kernel made of files.

The program is a copy of dash whose arguments, out of a table of the test's own, are a script that
writes what the kernel would say.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import pytest_asyncio

from schedcpd.deploy.admission import GateAdmission
from schedcpd.deploy.scheduler_host import checks, params
from schedcpd.deploy.scheduler_host.service import SchedulerHost
from schedcpd.deploy.token import TokenMinter, TokenVerifier
from schedcpd.deploy.token_key import load_or_create_key
from schedcpd.errors import (
    ForeignSchedulerError,
    InvalidArgumentError,
    NotFoundError,
    SchedulerHostError,
    TokenError,
)
from schedcpd.host import external
from schedcpd.host.program_file import ProgramFinder, Programs
from schedcpd.host.scx import SysScx
from schedcpd.host.scx_programs import ScxProgram
from schedcpd.model import (
    ACT_RESTART,
    Candidate,
    CandidateKind,
    ExitKind,
    KernelBuild,
    Verdict,
    VerdictOrigin,
)
from schedcpd.verify.child import Children
from schedcpd.verify.door import WorkshopMaker
from schedcpd.verify.external import external_verdict
from schedcpd.verify.gate import Gate
from schedcpd.verify.store import VerdictStore

KERNEL = KernelBuild("7.3.4", "#1", "ab" * 20)
NAME = "scx_rusty"
SCRIPT = """
s={root}/sys/kernel/sched_ext; read n <$s/enable_seq; n=$((n+1))
leave() {{ echo disabled >$s/state; echo "EXIT: unregistered from user space"; exit 0; }}
trap leave INT
echo $n >$s/enable_seq; echo rusty_1.0 >$s/root/ops; echo enabled >$s/state
while :; do sleep 0.05; done
"""


class Host:
    """A scheduler host in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir()
        self.path = root / "bin" / NAME
        shutil.copy(os.path.realpath("/bin/sh"), self.path)
        self.path.chmod(0o755)
        self.state = root / "sys/kernel/sched_ext"
        (self.state / "root").mkdir(parents=True)
        (root / "sys/kernel/btf").mkdir()
        (root / "sys/kernel/btf/vmlinux").touch()
        (self.state / "state").write_text("disabled\n")
        (self.state / "enable_seq").write_text("6\n")
        self.finder = ProgramFinder((root / "bin",), os.getuid())
        self.minter = TokenMinter(load_or_create_key(root / "token.key"))
        self.events: list[tuple[str, Any]] = []
        self.host = SchedulerHost(
            scx=SysScx(root),
            kernel=KERNEL,
            open_verifier=lambda: TokenVerifier.open(root / "token.key", root / "nonces"),
            broadcast=lambda name, data: self.events.append((name, data)),
            finder=self.finder,
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def candidate(self, mode: str = "auto") -> Candidate:
        path, values = str(self.path), {"mode": mode}
        return Candidate(CandidateKind.EXTERNAL, "p", NAME, path, self.sha256, values, "asked")

    @property
    def programs(self) -> Programs:
        return Programs(allowed=True, finder=self.finder)

    def verdict(self, mode: str = "auto") -> Verdict:
        return external_verdict(self.candidate(mode), KERNEL, self.programs)

    def token(self, mode: str = "auto") -> str:
        return self.minter.mint_program(self.verdict(mode), kernel=KERNEL, mode=mode)

    async def call(self, method: str, **values: Any) -> Any:
        return await self.host.methods[method].handler(values)

    async def run(self, **changed: Any) -> Any:
        values = {
            "program": NAME,
            "mode": "auto",
            "sha256": self.sha256,
            "deployment_id": "d-1",
            "token": changed.pop("token", None) or self.token(),
            "timeout_s": 20,
        }
        return await self.call("run_program", **(values | changed))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - it looks at a process and at files
                await asyncio.sleep(0.02)

    @property
    def pid(self) -> int:
        running = self.host._scheduler
        assert isinstance(running, external.ExternalScheduler)
        assert running._process is not None
        return running._process.pid


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest_asyncio.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    table = ScxProgram(
        NAME,
        MappingProxyType(
            {
                "auto": ("-c", SCRIPT.format(root=tmp_path)),
                "gaming": ("-c", "echo 'error: no such argument'; exit 2"),
                "server": ("-c", f"echo gaming; {SCRIPT.format(root=tmp_path)}"),
            }
        ),
    )
    monkeypatch.setattr(checks, "PROGRAMS", {NAME: table})
    monkeypatch.setattr(external, "holds_struct_ops", lambda _pid: True)
    made = Host(tmp_path)
    yield made
    await made.host.end()


async def test_it_runs_and_is_ended_on_purpose(host: Host) -> None:
    status = await host.run()
    assert (status["attached"], status["scheduler"]) == (True, NAME)
    assert (status["ops_name"], status["enable_seq"]) == ("rusty_1.0", 7)
    assert (status["object_sha256"], status["deployment_id"]) == (host.sha256, "d-1")
    assert status["tunables"] == {"mode": "auto"}
    assert host.host.attached
    written = await host.call("set_intents", set=[[7, "batch"]], delete=[])
    assert written == {"written": 0}
    with pytest.raises(NotFoundError, match="keeps no statistics"):
        await host.call("stats", cgroups=None)
    pid = host.pid
    ended = await host.call("unload", reason="enough")
    assert (ended["attached"], ended["last_exit"], host.events) == (False, None, [])
    assert gone(pid)
    assert (host.state / "state").read_text() == "disabled\n"


async def test_another_mode_replaces_it(host: Host) -> None:
    first = await host.run()
    second = await host.run(mode="server", token=host.token("server"), deployment_id="d-2")
    assert (first["enable_seq"], second["enable_seq"]) == (7, 8)
    assert second["tunables"] == {"mode": "server"}
    assert second["swap_gap_us"] > 0
    assert host.events == []


async def test_a_crash_is_an_ejection_with_its_last_words(host: Host) -> None:
    await host.run()
    (host.state / "state").write_text("disabled\n")
    os.kill(host.pid, signal.SIGABRT)
    await host.until(lambda: host.events)
    ((event, told),) = host.events
    assert (event, told["attached"], told["deployment_id"]) == ("ejected", False, "d-1")
    assert told["last_exit"]["kind"] == ExitKind.ERROR
    assert "SIGABRT" in told["last_exit"]["reason"]
    assert "state is disabled" in told["last_exit"]["message"]
    assert not host.host.attached


async def test_an_operators_kill_is_told_as_one(host: Host) -> None:
    await host.run()
    os.kill(host.pid, signal.SIGKILL)
    await host.until(lambda: host.events)
    assert host.events[0][1]["last_exit"]["kind"] == ExitKind.UNREG


async def test_one_that_leaves_the_kernel_and_lives_is_ended_and_wanted_again(host: Host) -> None:
    await host.run()
    pid = host.pid
    (host.state / "state").write_text("disabled\n")
    await host.until(lambda: host.events)
    told = host.events[0][1]["last_exit"]
    assert (told["kind"], told["code"]) == (ExitKind.UNREG_KERN, ACT_RESTART)
    await host.until(lambda: gone(pid))


async def test_refused_arguments_leave_the_default_and_say_why(host: Host) -> None:
    with pytest.raises(SchedulerHostError, match="no such argument"):
        await host.run(mode="gaming", token=host.token("gaming"))
    status = await host.call("status")
    assert (status["attached"], host.host.attached) == (False, False)
    assert "exit code 2" in status["last_exit"]["reason"]


async def test_a_program_that_was_changed_is_not_run(host: Host) -> None:
    token, before = host.token(), host.sha256
    with host.path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(InvalidArgumentError, match=r"^sha256: "):
        await host.run(sha256=before, token=token)


async def test_a_token_is_for_one_program_in_one_mode_once(host: Host) -> None:
    token = host.token()
    with pytest.raises(TokenError) as refused:
        await host.run(mode="server", token=token)
    assert refused.value.reason == "other-tunables"
    await host.run(token=token)
    with pytest.raises(TokenError) as refused:
        await host.run(token=token)
    assert refused.value.reason == "replayed"
    assert host.host.attached  # what ran goes on


async def test_tokens_of_objects_run_no_program_and_the_other_way_round(host: Host) -> None:
    verifier = TokenVerifier.open(host.root / "token.key", host.root / "nonces")
    with pytest.raises(TokenError) as refused:
        verifier.check(
            host.token(),
            sha256=host.sha256,
            tunables={"program": NAME, "mode": "auto"},
            kernel=KERNEL,
        )
    assert refused.value.reason == "other-scope"
    with pytest.raises(TokenError) as refused:
        host.minter.mint(host.verdict(), kernel=KERNEL)
    assert refused.value.reason == "not-passed"


def test_no_other_verdict_opens_the_mint_for_programs(host: Host) -> None:
    shipped = replace(host.verdict(), origin=VerdictOrigin.SHIPPED, passed=True)
    edited = replace(host.verdict(), scheduler="scx_lavd")
    for wrong in (replace(shipped, id=shipped.content_id), edited):
        with pytest.raises(TokenError) as refused:
            host.minter.mint_program(wrong, kernel=KERNEL, mode="auto")
        assert refused.value.reason == "not-passed"


async def test_what_admission_mints_is_what_the_host_runs(host: Host) -> None:
    store = VerdictStore(host.root, host.root)
    gate = Gate(
        store, WorkshopMaker(Children()), require_local_verdict=True, programs=host.programs
    )
    admission = GateAdmission(gate, KERNEL, lambda: host.minter)
    verdict = await admission.admit(host.candidate("server"))
    token = await admission.mint(verdict, host.candidate("server"))
    assert (await host.run(mode="server", token=token))["attached"]
    assert admission.verdict(verdict.id) == verdict


async def test_a_foreign_scheduler_is_not_evicted(host: Host) -> None:
    (host.state / "state").write_text("enabled\n")
    (host.state / "root/ops").write_text("lavd_1.0\n")
    with pytest.raises(ForeignSchedulerError, match="lavd"):
        await host.run()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("program", "scx_unknown"),
        ("program", "../../bin/sh"),
        ("program", 7),
        ("mode", "fast"),
        ("mode", "-m all"),
        ("sha256", "A" * 64),
        ("deployment_id", 3),
        ("token", "x" * 9000),
        ("timeout_s", 0),
        ("timeout_s", 601),
        ("timeout_s", True),
        ("timeout_s", "20"),
        ("timeout_s", float("nan")),
    ],
)
async def test_a_bad_param_is_refused_by_name(host: Host, name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{name}"):
        await host.run(**({"token": "x.y"} | {name: value}))


def test_the_params_are_those_that_are_asked_for(host: Host) -> None:
    good = {"program": NAME, "mode": "auto", "sha256": "a" * 64, "deployment_id": "d", "token": "t"}
    request = params.RunRequest.of({**good, "timeout_s": 7})
    assert set(request.__slots__) == params.RUN
    assert request.timeout_s == 7.0
