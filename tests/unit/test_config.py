# SPDX-License-Identifier: Apache-2.0
"""config: defaults, merging, and every problem named with file, line, field and fix."""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schedcpd import config
from schedcpd.config import Config, LogLevel, Switch
from schedcpd.errors import ConfigError, ConfigErrors

SHIPPED = Path(__file__).parents[2] / "packaging" / "schedcpd.yaml"


def problems_of(text: str) -> list[ConfigError]:
    with pytest.raises(ConfigErrors) as caught:
        config.loads(text.encode(), "c.yaml")
    return list(caught.value.problems)


def test_the_shipped_file_states_every_default() -> None:
    assert config.load(SHIPPED, must_exist=True) == Config()
    stated = yaml.safe_load(SHIPPED.read_text())
    assert set(stated) == {f.name for f in fields(Config)}
    for name, kind in config.SECTIONS.items():
        assert set(stated[name]) == {f.name for f in fields(kind)}


def test_every_field_has_a_sentence() -> None:
    for kind in (Config, *config.SECTIONS.values()):
        for spec in fields(kind):
            if spec.name not in config.SECTIONS:
                assert spec.metadata["doc"].endswith("."), spec.name


def test_no_file_means_defaults_unless_asked_for(tmp_path: Path) -> None:
    assert config.load(tmp_path / "c.yaml") == Config()
    with pytest.raises(ConfigErrors, match="cannot be read: No such file"):
        config.load(tmp_path / "c.yaml", must_exist=True)


def test_drop_ins_merge_key_by_key_in_name_order(tmp_path: Path) -> None:
    main = tmp_path / "c.yaml"
    main.write_text("log_level: debug\ndeploy: {canary_s: 5, max_per_hour: 2}\n")
    drop = tmp_path / "c.yaml.d"
    drop.mkdir()
    (drop / "20.yaml").write_text("deploy: {canary_s: 7}\nobserve: {relook_ms: [10]}\n")
    (drop / "10.yaml").write_text("deploy: {canary_s: 6}\nagent: {enabled: false}\n")
    (drop / "30.yaml").symlink_to("/dev/null")
    (drop / "README").write_text("not: [yaml")
    got = config.load(main)
    assert (got.log_level, got.deploy.canary_s, got.deploy.max_per_hour) == (LogLevel.DEBUG, 7, 2)
    assert (got.observe.relook_ms, got.agent.enabled) == ((10,), Switch.OFF)
    assert got.deploy.hold_down_s == Config().deploy.hold_down_s


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    main = tmp_path / "c.yaml"
    main.write_text("log_levle: debug\ndeploy:\n  canary_s: -1\n  max_per_hour: many\n")
    drop = tmp_path / "c.yaml.d"
    drop.mkdir()
    (drop / "a.yaml").write_text("\nagent: 3\n")
    with pytest.raises(ConfigErrors) as caught:
        config.load(main)
    told = [(Path(p.file).name, p.line, p.field) for p in caught.value.problems]
    assert told == [
        ("c.yaml", 1, "log_levle"),
        ("c.yaml", 3, "deploy.canary_s"),
        ("c.yaml", 4, "deploy.max_per_hour"),
        ("a.yaml", 2, "agent"),
    ]
    assert "did you mean log_level?" in caught.value.problems[0].hint
    assert caught.value.problems[1].hint == "use 0 to 3600 s"
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize(
    ("text", "field", "part"),
    [
        ("policy: 5", "policy", "must be text, is the number 5"),
        ("policy: Foo Bar", "policy", "is not a policy's name"),
        ("log_level: verbos", "log_level", "not allowed"),
        ("require_local_verdict: yes", "require_local_verdict", 'is the text "yes"'),
        ("state_dir: var/lib", "state_dir", "absolute path"),
        ("state_dir: /var/../etc", "state_dir", "absolute path"),
        ("policy_dirs: /etc", "policy_dirs", "must be a list"),
        ("policy_dirs: [/etc, 3]", "policy_dirs[1]", "must be text"),
        ("agent: {enabled: maybe}", "agent.enabled", "auto, true or false"),
        ("agent: {min_confidence: .nan}", "agent.min_confidence", "out of range"),
        ("agent: {min_confidence: 1.01}", "agent.min_confidence", "out of range"),
        ("agent: {calls_per_hour: 1.5}", "agent.calls_per_hour", "whole number"),
        ("agent: {calls_per_hour: true}", "agent.calls_per_hour", "the boolean true"),
        ("observe: {relook_ms: [5, 5]}", "observe.relook_ms", "grow"),
        ("observe: {relook_ms: [5, x]}", "observe.relook_ms[1]", "whole number"),
        ("observe: {ignore: [user.slice]}", "observe.ignore", "cgroup path"),
        ("history: {max_rows: 99}", "history.max_rows", "out of range"),
        ("history:", "history", "must be a map, is nothing"),
        ("- a", "", "must be a map, is a list"),
    ],
)
def test_one_problem(text: str, field: str, part: str) -> None:
    (problem,) = problems_of(text)
    assert (problem.file, problem.line, problem.field) == ("c.yaml", 1, field)
    assert part in problem.message
    assert problem.hint


def test_check_prints_every_problem_and_what_others_find(tmp_path: Path) -> None:
    main = tmp_path / "c.yaml"
    main.write_text("polcy: x\n")
    out = io.StringIO()
    extra = ConfigError("no such scheduler", file="p.yaml", line=3, field="policies[0].scheduler")
    assert config.check(main, out, lambda _config: [extra]) == 1
    assert out.getvalue().splitlines()[0].startswith(f"{main}:1: polcy: unknown key (did you")
    assert "p.yaml:3: policies[0].scheduler: no such scheduler" in out.getvalue()
    assert out.getvalue().endswith("2 problems found\n")
    out = io.StringIO()
    assert config.check(SHIPPED, out) == 0
    assert out.getvalue() == "no problems\n"


_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("/x")
)
_trees = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from([f.name for f in fields(Config)]),
                st.sampled_from(
                    [f.name for kind in config.SECTIONS.values() for f in fields(kind)]
                ),
                st.text(max_size=8),
            ),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(_trees)
def test_any_tree_is_a_config_or_problems_with_lines(tree: object) -> None:
    data = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    try:
        got = config.loads(data)
    except ConfigErrors as errors:
        assert all(problem.line >= 1 for problem in errors.problems)
    else:
        assert isinstance(got, Config)
        assert 0 <= got.agent.min_confidence <= 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_any_bytes_are_a_config_or_problems_with_lines(data: bytes) -> None:
    try:
        assert isinstance(config.loads(data), Config)
    except ConfigErrors as errors:
        assert all(problem.line >= 1 for problem in errors.problems)
