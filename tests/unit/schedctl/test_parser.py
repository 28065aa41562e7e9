# SPDX-License-Identifier: Apache-2.0
"""The command line, what is made from it (manual page, completion), and TARGET."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schedbench.__main__
from schedcpd.config import SECTIONS, Config
from schedcpd.model import IntentClass, RecordKind
from schedctl.commands import COMMANDS
from schedctl.parser import build_parser, normalise_target
from schedctl.policy import COMMANDS as POLICY

ROOT = Path(__file__).resolve().parents[3]
COMPLETION = ROOT / "packaging/completions/schedctl"


@pytest.fixture(scope="module")
def manpages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manpages", ROOT / "packaging/manpages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_is_implemented(manpages: ModuleType) -> None:
    commands = manpages.commands_of(build_parser())
    assert set(commands) == set(COMMANDS) | {"mcp", "verify"}
    assert set(manpages.commands_of(commands["policy"])) == set(POLICY) | {"lint"}


def test_options_before_and_after_the_command() -> None:
    for argv in (["--json", "status"], ["status", "--json"]):
        options = build_parser().parse_args(argv)
        assert options.json is True
    assert "json" not in build_parser().parse_args(["status"])


@pytest.mark.parametrize(
    ("given_target", "normal"),
    [
        ("nginx.service", "nginx.service"),
        ("1234", "1234"),
        ("/system.slice/nginx.service", "/system.slice/nginx.service"),
        ("/system.slice/nginx.service/", "/system.slice/nginx.service"),
        ("/sys/fs/cgroup/system.slice", "/system.slice"),
        ("/sys/fs/cgroup", "/"),
        ("/sys/fs/cgroup/", "/"),
        ("/sys/fs/cgroups/x", "/sys/fs/cgroups/x"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
    ],
)
def test_target(given_target: str, normal: str) -> None:
    assert normalise_target(given_target) == normal


@given(st.text(max_size=60))
def test_target_is_settled_after_one_look(text: str) -> None:
    once = normalise_target(text)
    if not once.startswith("/sys/fs/cgroup"):
        assert normalise_target(once) == once
    assert once or not text


def test_pages_are_whole(manpages: ModuleType) -> None:
    pages = manpages.filled(ROOT)
    assert set(pages) == {
        *("schedctl.1", "schedbench.1", "schedcpd.8", "schedcp-agent.8"),
        *("schedcpd.yaml.5", "schedcp-policies.5"),
    }
    for name, text in pages.items():
        assert not re.search(r"@[A-Z]+@", text), name
        assert "\n|" not in text, f"{name} has a table"
        assert text.startswith(f"% {name.rsplit('.', 1)[0].upper()}({name[-1]})")
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"):
            assert f"\n# {section}\n" in text, f"{name} has no {section}"


def test_pages_name_what_there_is(manpages: ModuleType) -> None:
    pages = manpages.filled(ROOT)
    commands = manpages.commands_of(build_parser())
    for name in [*(set(commands) - {"policy"}), *(f"policy {each}" for each in POLICY)]:
        assert re.search(rf"^\*\*{name}\*\*", pages["schedctl.1"], re.M), name
    for command in manpages.commands_of(schedbench.__main__.build_parser()):
        assert re.search(rf"^\*\*{command}\*\*", pages["schedbench.1"], re.M), command
    for name in Config.__dataclass_fields__:
        if name not in SECTIONS:
            assert manpages.escape(name) in pages["schedcpd.yaml.5"], name
    for section, kind in SECTIONS.items():
        for name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
            assert manpages.escape(f"{section}.{name}") in pages["schedcpd.yaml.5"], name


def test_the_daemons_page_names_its_options(manpages: ModuleType) -> None:
    page = manpages.filled(ROOT)["schedcpd.8"]
    daemon = (ROOT / "schedcpd/__main__.py").read_text(encoding="utf-8")
    options = set(re.findall(r"\"(--[a-z-]+)\"", daemon))
    assert options
    for option in options:
        assert f"**\\{option}**" in page, option


def test_completion_knows_the_words(manpages: ModuleType) -> None:
    text = COMPLETION.read_text(encoding="utf-8")

    def words(variable: str) -> set[str]:
        found = re.search(rf'local {variable}="([^"]*)"', text)
        assert found, variable
        return set(found[1].split())

    parser = build_parser()
    commands = manpages.commands_of(parser)
    assert words("commands") == set(commands)
    assert words("policy_commands") == set(manpages.commands_of(commands["policy"]))
    assert words("intents") == set(IntentClass)
    assert words("kinds") == set(RecordKind)
    for name, command in commands.items():
        long = {
            option
            for action in command._actions
            for option in action.option_strings
            if option.startswith("--")
        }
        own = re.search(rf'^ +{name}\) options="\$common ([^"]*)"', text, re.M)
        assert words("common") | set(own[1].split() if own else ()) == long, name


def test_completion_is_bash() -> None:
    script = f"""
    _init_completion() {{ words=("${{COMP_WORDS[@]}}"); cword=$COMP_CWORD
        cur=${{words[cword]}}; prev=${{words[cword-1]}}; }}
    . {COMPLETION}
    COMP_WORDS=(schedctl --json pin nginx ba); COMP_CWORD=4
    _schedctl; echo "${{COMPREPLY[@]}}"
    COMP_WORDS=(schedctl policy --json d); COMP_CWORD=3
    _schedctl; echo "${{COMPREPLY[@]}}"
    COMP_WORDS=(schedctl re); COMP_CWORD=1
    _schedctl; echo "${{COMPREPLY[@]}}"
    COMP_WORDS=(schedctl log --kind o); COMP_CWORD=3
    _schedctl; echo "${{COMPREPLY[@]}}"
    """
    ran = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True, timeout=20)
    assert ran.stderr == ""
    assert [sorted(line.split()) for line in ran.stdout.splitlines()] == [
        ["background", "batch"],
        ["diff"],
        ["reload", "resume"],
        ["operator", "outcome"],
    ]
