# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from schedcpd.agent.config import AgentFile, is_loopback, load, load_or_reason
from schedcpd.errors import ConfigErrors


def write(tmp_path: Path, text: str, key: str = "") -> tuple[Path, Path]:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    (tmp_path / "api-key").write_text(key)
    return file, tmp_path


def test_no_file_means_no_model(tmp_path: Path) -> None:
    config, reason, wrong = load_or_reason(tmp_path / "agent.yaml", {})
    assert config == AgentFile() and not wrong
    assert reason == f"no model is configured in {tmp_path}/agent.yaml"


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n"])
def test_an_empty_file_means_no_model(tmp_path: Path, text: str) -> None:
    file, _ = write(tmp_path, text)
    assert "no model is configured" in load_or_reason(file, {})[1]


def test_everything_set(tmp_path: Path) -> None:
    file, credentials = write(
        tmp_path,
        "model: openai/qwen-3:4b\napi_base: https://llm.example/v1/\ntimeout_s: 5\n"
        "max_tokens: 100\ntemperature: 0.5\nseed: 7\nidle_exit_s: 10\nmax_prompt_bytes: 8000\n"
        "max_response_bytes: 10000\n",
        "sk-1234\n",
    )
    assert load(file, credentials=credentials) == AgentFile(
        model="openai/qwen-3:4b",
        api_base="https://llm.example/v1",
        timeout_s=5.0,
        max_tokens=100,
        temperature=0.5,
        seed=7,
        idle_exit_s=10.0,
        max_prompt_bytes=8000,
        max_response_bytes=10_000,
        api_key="sk-1234",
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("model: openai/x\nmodels: y\n", ":2: models: unknown key (did you mean model?"),
        ("model: gpt-4\n", ':1: model: "gpt-4" is not PROVIDER/MODEL'),
        ("api_base: http://localhost/v1\n", "model: is missing"),
        ("model: openai/x\napi_key: sk-1\n", ":2: api_key: a key does not belong into this file"),
        ("model: openai/x\napi_base: ftp://x\n", ":2: api_base: is not the address"),
        ("model: openai/x\napi_base: http://me:pw@host/v1\n", "without user, password"),
        ("model: openai/x\napi_base: 'http://[::1'\n", ":2: api_base: is not the address"),
        ("model: openai/x\ntimeout_s: 0\n", ":2: timeout_s: 0 is out of range (use 0.5 to 600 s)"),
        ("model: openai/x\nmax_tokens: 1.5\n", ":2: max_tokens: must be a whole number"),
        ("model: openai/x\ntemperature: .nan\n", ":2: temperature:"),
        ("model: [openai/x\n", "is not valid YAML"),
        ("- model\n", "must be a map"),
    ],
)
def test_every_mistake_names_line_field_and_fix(tmp_path: Path, text: str, wanted: str) -> None:
    file, _ = write(tmp_path, text)
    with pytest.raises(ConfigErrors) as error:
        load(file)
    assert wanted in str(error.value)
    config, reason, wrong = load_or_reason(file, {})
    assert config == AgentFile() and wrong
    assert reason.startswith(str(file))


def test_a_key_is_never_sent_in_clear_over_a_network(tmp_path: Path) -> None:
    text = "model: openai/x\napi_base: http://192.0.2.1/v1\n"
    file, credentials = write(tmp_path, text, "sk-1")
    with pytest.raises(ConfigErrors, match="unencrypted"):
        load(file, credentials=credentials)
    for no_key in ("", "none\n"):
        file, credentials = write(tmp_path, text, no_key)
        assert load(file, credentials=credentials).api_key == ""
    file, credentials = write(tmp_path, text.replace("192.0.2.1", "127.0.0.1"), "sk-1")
    assert load(file, credentials=credentials).api_key == "sk-1"


@pytest.mark.parametrize("key", ["two\nlines", "bell\x07", "ünïcode", "x" * 5000])
def test_a_bad_key(tmp_path: Path, key: str) -> None:
    file, credentials = write(tmp_path, "model: openai/x\n", key)
    with pytest.raises(ConfigErrors, match="not one line of ASCII"):
        load(file, credentials=credentials)


def test_the_key_is_not_shown() -> None:
    assert "sk-1" not in repr(AgentFile(model="openai/x", api_key="sk-1"))


def test_loopback() -> None:
    assert is_loopback("http://127.0.0.1:1/v1")
    assert is_loopback("http://[::1]:1/v1")
    assert is_loopback("http://localhost/v1")
    assert not is_loopback("http://localhost.example/v1")
    assert not is_loopback("http://10.0.0.1/v1")


def test_the_shipped_file_configures_nothing_and_shows_every_key(tmp_path: Path) -> None:
    shipped = (Path(__file__).parents[3] / "packaging" / "agent.yaml").read_text()
    file, _ = write(tmp_path, shipped)
    assert load(file) == AgentFile()
    file, _ = write(tmp_path, re.sub(r"(?m)^#([a-z_]+: )", r"\1", shipped))
    shown = load(file)
    assert shown == AgentFile(model="openai/NAME", api_base="http://127.0.0.1:8080/v1")
    named = set(re.findall(r"(?m)^#([a-z_]+): ", shipped))
    assert named == {f.name for f in fields(AgentFile)} - {"api_key"}
