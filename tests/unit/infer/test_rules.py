# SPDX-License-Identifier: Apache-2.0
"""infer: which rule wins, what it says, and pins."""

from __future__ import annotations

import random
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.infer.pins import decide, nearest_pin
from schedcpd.infer.rules import RuleBook, infer
from schedcpd.model import (
    AppIdentity,
    AppKind,
    Intent,
    IntentClass,
    IntentSource,
    Rule,
    WorkloadProfile,
)

I = IntentClass  # noqa: E741


def rule(
    name: str,
    intent: IntentClass = I.BATCH,
    priority: int = 50,
    *,
    file: str = "50-build.yaml",
    exclude: dict[str, tuple[str, ...]] | None = None,
    **match: tuple[str, ...],
) -> Rule:
    return Rule(
        name,
        MappingProxyType(match),
        MappingProxyType(exclude or {}),
        intent,
        priority,
        "because",
        file,
        1,
    )


def profile(
    executable: str = "make",
    *,
    cgroup: str = "/system.slice/x.service",
    kind: AppKind = AppKind.SERVICE,
    executables: tuple[str, ...] = (),
    unit: str = "x.service",
) -> WorkloadProfile:
    identity = AppIdentity(
        kind, executable, unit=unit, slice="system.slice", executable=executable, comm=executable
    )
    return WorkloadProfile(cgroup, 42, identity, True, 0, executables=executables)


def test_the_reason_can_be_read() -> None:
    intent = infer(profile(), [rule("build-tools", executable=("ninja", "make"))])
    assert intent == Intent(
        "42",
        I.BATCH,
        IntentSource.RULE,
        "rule build-tools in 50-build.yaml: executable make; because",
        rule="50-build.yaml:build-tools",
    )


def test_names_are_escaped_in_reasons() -> None:
    intent = infer(profile("a\nMESSAGE=b\x1b[31m"), [rule("r", executable=("a*",))])
    assert intent is not None
    assert intent.reason.isprintable()


def test_priority_then_keys_then_literal_characters() -> None:
    low = rule("low", I.NORMAL, 40, executable=("make",), kind=("service",))
    wide = rule("wide", I.LATENCY, executable=("m*",))
    narrow = rule("narrow", I.INTERACTIVE, executable=("make",))
    two = rule("two", I.BACKGROUND, executable=("*",), kind=("service",))
    assert [r.name for r in RuleBook([low, wide, narrow, two]).rules][:4] == [
        "two",
        "narrow",
        "wide",
        "low",
    ]


@given(st.randoms(use_true_random=False))
def test_the_order_of_reading_never_matters(rng: random.Random) -> None:
    rules = [
        rule(name, intent, priority, file=file, executable=(glob,))
        for name in ("a", "b")
        for file in ("1.yaml", "2.yaml")
        for intent, priority in ((I.BATCH, 50), (I.NORMAL, 50))
        for glob in ("make", "m*")
    ]
    expected = RuleBook(rules).infer(profile())
    rng.shuffle(rules)
    assert RuleBook(rules).infer(profile()) == expected


def test_all_keys_must_match_and_no_exclusion_may() -> None:
    both = rule("both", executable=("make",), unit=("x.*",))
    assert infer(profile(), [both]) is not None
    assert RuleBook([both]).infer(profile("cp")) is None
    excluded = rule("ex", executable=("cp",), exclude={"kind": ("session", "service")})
    assert infer(profile("cp"), [excluded]) is None
    assert infer(profile("cp", kind=AppKind.SCOPE), [excluded]) is not None


def test_executable_is_the_leading_one_and_any_executable_is_not() -> None:
    sh = profile("sh", executables=("sh", "make", "cc1"))
    assert infer(sh, [rule("lead", executable=("cc1",))]) is None
    intent = infer(sh, [rule("any", any_executable=("cc1",))])
    assert intent is not None
    assert "any_executable cc1" in intent.reason


def test_cgroup_globs_go_by_level() -> None:
    assert infer(profile("cp"), [rule("r", cgroup=("/*.service",))]) is None
    assert infer(profile("cp"), [rule("r", cgroup=("/**/*.service",))]) is not None


@pytest.mark.parametrize(
    ("kind", "executable", "expected"),
    [
        (AppKind.SESSION, "sshd", I.INTERACTIVE),
        (AppKind.DESKTOP_APP, "gimp", I.INTERACTIVE),
        (AppKind.SERVICE, "cc1plus", I.BATCH),
    ],
)
def test_without_any_file_the_embedded_rules_decide(
    kind: AppKind, executable: str, expected: IntentClass
) -> None:
    intent = infer(profile(executable, kind=kind), [])
    assert intent is not None
    assert (intent.intent_class, intent.rule.split(":")[0]) == (expected, "built-in")


def test_any_rule_of_a_file_goes_before_the_embedded_ones() -> None:
    intent = infer(profile(), [rule("weak", I.NORMAL, 1, executable=("*",))])
    assert intent is not None
    assert intent.intent_class is I.NORMAL


# ---------------------------------------------------------------- pins

PINS = {
    "/user.slice": I.BATCH,
    "/user.slice/a/b.scope": I.LATENCY,
    "/system.slice/x.service": I.NORMAL,
}


@pytest.mark.parametrize(
    ("cgroup", "path"),
    [
        ("/user.slice", "/user.slice"),
        ("/user.slice/a", "/user.slice"),
        ("/user.slice/a/b.scope/c", "/user.slice/a/b.scope"),
        ("/user.slice2", None),
        ("/", None),
        ("/system.slice", None),
    ],
)
def test_the_nearest_pin_holds(cgroup: str, path: str | None) -> None:
    assert nearest_pin(cgroup, PINS) == path


def test_a_pin_of_the_root_holds_for_all() -> None:
    assert nearest_pin("/a/b", {"/": I.BATCH}) == "/"
    assert nearest_pin("/", {"/": I.BATCH}) == "/"


def test_who_has_the_last_word() -> None:
    book = RuleBook([rule("r", executable=("make",))])
    answer = Intent("42", I.LATENCY, IntentSource.AGENT, "says the model", confidence=0.9)
    own = decide(profile(), PINS, book, answer)
    assert (own.source, own.intent_class) == (IntentSource.PIN, I.NORMAL)
    inherited = decide(profile(cgroup="/user.slice/z"), PINS, book, answer)
    assert (inherited.source, inherited.intent_class) == (IntentSource.INHERITED, I.BATCH)
    assert inherited.reason == "inherits batch from the pin of /user.slice"
    by_rule = decide(profile(), {}, book, answer)
    assert (by_rule.source, by_rule.intent_class) == (IntentSource.RULE, I.BATCH)
    assert decide(profile("odd"), {}, book, answer) is answer
    nothing = decide(profile("odd"), {}, book)
    assert (nothing.source, nothing.intent_class) == (IntentSource.DEFAULT, I.NORMAL)
