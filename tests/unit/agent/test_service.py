# SPDX-License-Identifier: Apache-2.0
"""The process around the model: socket activation, going when idle, the hard stop, its imports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schedcpd.agent.config import AgentFile
from schedcpd.agent.inferer import Inferer
from schedcpd.agent.llm import SWITCHES, Completion, LiteLlm, scrub
from schedcpd.agent.prompt import Message
from schedcpd.agent.service import Service, arm_hard_stop
from schedcpd.errors import AgentError, BusyError, InvalidArgumentError
from schedcpd.host.jsonline import JsonLineClient
from tests.llm_server import GOOD
from tests.unit.agent.process import ROOT, start_agent, stop_agent

CONFIG = AgentFile(model="openai/x", timeout_s=5.0, idle_exit_s=1.0)


class FakeModel:
    def __init__(self, *texts: str, delay_s: float = 0.0) -> None:
        self.texts, self.delay_s = list(texts), delay_s
        self.asked: list[Sequence[Message]] = []
        self.loading = False

    async def complete(self, messages: Sequence[Message], *, timeout_s: float) -> Completion:
        self.asked.append(messages)
        await asyncio.sleep(self.delay_s)
        return Completion(self.texts.pop(0), 10, 5)


async def call(service: Service, method: str, params: dict[str, Any] | None = None) -> Any:
    return await service.methods()[method].handler(params or {})


async def test_hello_says_why_no_model_can_be_asked() -> None:
    service = Service(AgentFile(), "no model is configured in x", FakeModel())
    hello = await call(service, "hello")
    assert (hello["configured"], hello["protocol"]) == (False, 1)
    assert hello["reason"] == "no model is configured in x"
    with pytest.raises(AgentError, match="no model is configured"):
        await call(service, "infer", {"profile": {}, "timeout_s": 1})


async def test_one_question_at_a_time_and_the_hard_stop_is_always_disarmed() -> None:
    armed: list[float | None] = []
    model = FakeModel(json.dumps(GOOD), "nonsense", "nonsense", delay_s=0.05)
    service = Service(CONFIG, "", model, hard_stop=armed.append)
    first = asyncio.create_task(call(service, "infer", {"profile": {}, "timeout_s": 2}))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await call(service, "infer", {"profile": {}, "timeout_s": 2})
    assert (await first)["intent_class"] == "batch"
    with pytest.raises(AgentError):
        await call(service, "infer", {"profile": {}, "timeout_s": 2})
    assert armed == [7.0, None, 7.0, None]


@pytest.mark.parametrize("timeout_s", [0, -1, 601, "1", True, float("nan")])
async def test_a_bad_timeout_is_refused(timeout_s: object) -> None:
    service = Service(CONFIG, "", FakeModel())
    with pytest.raises(InvalidArgumentError, match="timeout_s"):
        await call(service, "infer", {"profile": {}, "timeout_s": timeout_s})


async def test_no_retry_without_time() -> None:
    now = [0.0]

    class Slow(FakeModel):
        async def complete(self, messages: Sequence[Message], *, timeout_s: float) -> Completion:
            now[0] += 10
            return await super().complete(messages, timeout_s=timeout_s)

    model = Slow("nonsense", json.dumps(GOOD))
    with pytest.raises(AgentError, match="not one JSON object"):
        await Inferer(CONFIG, model, clock=lambda: now[0]).infer({}, timeout_s=5)
    assert len(model.asked) == 1


async def test_it_does_not_go_while_its_model_is_loading() -> None:
    model = FakeModel()
    service = Service(AgentFile(model="openai/x", idle_exit_s=0.05), "", model)
    model.loading = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(service.idle(), 0.5)
    model.loading = False
    await asyncio.wait_for(service.idle(), 2)


async def test_an_import_that_takes_too_long_serves_the_next_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow machine: the first question runs out of time, the second finds litellm ready."""
    go, imports = threading.Event(), []

    class Response:
        choices = (SimpleNamespace(message=SimpleNamespace(content="said")),)

    async def acompletion(**_: object) -> Response:
        return Response()

    def slow(config: AgentFile) -> object:
        imports.append(config)
        go.wait(10)
        return SimpleNamespace(acompletion=acompletion)

    monkeypatch.setattr("schedcpd.agent.llm._import", slow)
    model = LiteLlm(CONFIG)
    with pytest.raises(AgentError, match="litellm was not imported within"):
        await model.complete([], timeout_s=0.1)
    assert model.loading
    go.set()
    assert (await model.complete([], timeout_s=5)).text == "said"
    assert not model.loading
    assert len(imports) == 1


def test_the_environment_cannot_steer_litellm() -> None:
    environ = {
        "PATH": "/bin", "OPENAI_API_KEY": "x", "LITELLM_LOG": "DEBUG", "HOME": "/root",
        "LITELLM_LOCAL_MODEL_COST_MAP": "False", "HTTPS_PROXY": "http://proxy",
    }  # fmt: skip
    scrub(environ)
    assert environ == {"PATH": "/bin", "HTTPS_PROXY": "http://proxy", **SWITCHES}


@pytest.fixture
def config(tmp_path: Path) -> str:
    return "model: openai/x\napi_base: http://127.0.0.1:9/v1\nidle_exit_s: 1\n"


def test_goes_when_idle_with_a_client_connected(tmp_path: Path, config: str) -> None:
    agent = start_agent(tmp_path, config)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(agent.socket))
            begin = time.monotonic()
            assert agent.process.wait(10) == 0
            assert time.monotonic() - begin > 0.3
    finally:
        stop_agent(agent)
    assert agent.seen() == [], "an idle life reaches for nothing"


async def test_a_failed_call_does_not_keep_it(tmp_path: Path, config: str) -> None:
    agent = start_agent(tmp_path, config + "timeout_s: 60\n")
    try:
        client = await JsonLineClient.connect(agent.socket, unreachable=AgentError)
        with pytest.raises(AgentError, match="cannot be reached"):
            await client.call("infer", {"profile": {}, "timeout_s": 60}, timeout_s=70)
        await client.close()
        assert await asyncio.to_thread(agent.process.wait, 10) == 0
    finally:
        stop_agent(agent)


def test_sigterm_ends_it_cleanly(tmp_path: Path, config: str) -> None:
    agent = start_agent(tmp_path, config.replace("idle_exit_s: 1", "idle_exit_s: 60"))
    try:
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(10) == 0
    finally:
        stop_agent(agent)


def test_a_bad_configuration_is_said_in_hello(tmp_path: Path) -> None:
    agent = start_agent(tmp_path, "model: openai/x\nmodels: y\n")

    async def ask() -> Any:
        client = await JsonLineClient.connect(agent.socket, unreachable=AgentError)
        try:
            return await client.call("hello", timeout_s=5)
        finally:
            await client.close()

    try:
        hello = asyncio.run(ask())
    finally:
        stop_agent(agent)
    assert not hello["configured"]
    assert "agent.yaml:2: models: unknown key" in hello["reason"]


def test_takes_the_socket_of_systemd_and_leaves_it_there(tmp_path: Path, config: str) -> None:
    """sd_listen_fds(3) by hand: descriptor 3, LISTEN_FDS and our own LISTEN_PID."""
    path, file = tmp_path / "s.sock", tmp_path / "agent.yaml"
    file.write_text(config)
    with socket.socket(socket.AF_UNIX) as listen:
        listen.bind(str(path))
        listen.listen()
        script = (
            f"import os, sys; os.dup2({listen.fileno()}, 3); "
            "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.executable, sys.argv[1:])"
        )
        agent = [sys.executable, "-m", "schedcpd.agent", "--config", str(file)]
        process = subprocess.Popen(
            [sys.executable, "-c", script, *agent],
            pass_fds=[listen.fileno()],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LISTEN_FDS": "1"},
            cwd=tmp_path,
        )
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect(str(path))
                client.sendall(b'{"id": 1, "method": "hello"}\n')
                answer = json.loads(client.makefile().readline())
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    assert answer["result"]["configured"] is True
    assert answer["result"]["model"] == "openai/x"
    assert path.exists(), "the path belongs to systemd"


def test_without_a_socket_it_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schedcpd.agent", "--config", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "start schedcp-agent.socket, or use --socket" in done.stderr


@pytest.mark.parametrize(
    ("text", "code", "wanted"),
    [
        ("model: openai/x\n", 0, "openai/x at its provider"),
        ("model: x\n", 1, "is not PROVIDER/MODEL"),
        ("", 0, "no model is configured"),
    ],
)
def test_check_config(tmp_path: Path, text: str, code: int, wanted: str) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "schedcpd.agent", "--config", str(file), "--check-config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, wanted in done.stdout) == (code, True)


def test_the_hard_stop_ends_a_process_that_python_cannot_leave(tmp_path: Path) -> None:
    code = (
        "from schedcpd.agent.service import arm_hard_stop; import re\n"
        "arm_hard_stop(0.3)\n"
        "re.match(r'(a+)+$', 'a' * 60 + 'b')\n"  # years, holding the interpreter's lock
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)
    assert done.returncode != 0
    assert time.monotonic() - begin < 20
    arm_hard_stop(None)  # disarming what is not armed is harmless


@pytest.mark.parametrize(
    "module", ["schedcpd.agent.__main__", "schedcpd.infer.agent_client", "schedcpd.agent.llm"]
)
def test_litellm_is_imported_only_when_asked(module: str) -> None:
    heavy = ("litellm", "httpx", "openai", "pydantic")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
