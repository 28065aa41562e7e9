# SPDX-License-Identifier: Apache-2.0
"""Rules on texts and on small trees made by hand; with real ones: tests/toolchain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.verify.rules.cpus import check_cpus
from schedcpd.verify.rules.inserts import check_inserts
from schedcpd.verify.rules.loops import MOST, check_loops
from schedcpd.verify.rules.queues import BUILTIN, check_queues
from schedcpd.verify.rules.returns import check_returns
from schedcpd.verify.rules.text import MAX_BYTES, check_directives, check_text
from schedcpd.verify.source.facts import FactsError, read_facts
from schedcpd.verify.source.program import Program

Tree = dict[str, Any]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('#include "/etc/shadow"', "source.include"),
        ('#include "../x.h"', "source.include"),
        ('#inc\\\nlude "/etc/shadow"', "source.include"),
        ('#/* */include "/etc/shadow"', "source.include"),
        ('%:include "/etc/shadow"', "source.include"),
        ('#embed "x"', "source.directive"),
        ('#line 5 "vmlinux.h"', "source.directive"),
        ("#import <x>", "source.directive"),
        ("#include_next <x>", "source.directive"),
        ("a\0b", "source.encoding"),
        ("x" * (MAX_BYTES + 1), "source.too-large"),
        ("\n" * 7000, "source.too-large"),
    ],
)
def test_texts_that_no_compiler_sees(text: str, reason: str) -> None:
    assert [f.reason for f in check_text(text.encode())] == [reason]


def test_a_usual_text_passes() -> None:
    text = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#define A 1\n#if A\n#endif\n'
    assert not list(check_text(text.encode()))
    assert [f.reason for f in check_text(b"\xff")] == ["source.encoding"]


@given(st.binary(max_size=300))
def test_any_bytes_give_findings_or_nothing(data: bytes) -> None:
    for finding in check_text(data):
        assert finding.reason.startswith("source.")


@pytest.mark.parametrize(
    ("line", "reasons"),
    [
        ('# 1 "/include/0/corpus.h" 1', []),
        ('# 1 "/usr/include/bpf/bpf_helpers.h" 1', []),
        ('# 1 "<built-in>" 1', []),
        ('# 1 "/usr/include/stdio.h" 1', ["source.include"]),
        ('# 1 "/include/../etc/passwd" 1', ["source.include"]),
        ("#pragma unroll", []),
        ("#pragma clang attribute push (x)", ["source.directive"]),
        ("#pragma GCC system_header", ["source.directive"]),
    ],
)
def test_what_the_preprocessor_left(line: str, reasons: list[str]) -> None:
    assert [f.reason for f in check_directives([line])] == reasons


def num(value: int) -> Tree:
    return {"k": "int", "v": value}


def ref(name: str, scope: str = "local") -> Tree:
    return {"k": "ref", "n": name, "s": scope}


def call(name: str, *arguments: Tree) -> Tree:
    return {"k": "call", "n": name, "l": 1, "a": list(arguments)}


def decl(name: str, value: Tree) -> Tree:
    return {"k": "decl", "n": name, "t": "int", "l": 1, "a": [value]}


def binary(sign: str, left: Tree, right: Tree) -> Tree:
    return {"k": "bin", "o": sign, "l": 1, "a": [left, right]}


def block(*statements: Tree) -> Tree:
    return {"k": "block", "l": 1, "a": list(statements)}


def program(more: dict[str, Tree] | None = None, **ops: Tree) -> Program:
    """Each op's body by the op's name, further functions by theirs."""
    functions = [function(f"toy_{op}", f"struct_ops/toy_{op}", body) for op, body in ops.items()]
    functions += [function(name, "", body) for name, body in (more or {}).items()]
    members = {op: ref(f"toy_{op}", "func") for op in ops}
    variable = {
        "name": "toy",
        "file": "toy.bpf.c",
        "line": 9,
        "section": ".struct_ops.link",
        "type": "struct sched_ext_ops",
        "text": "",
        "members": members,
    }
    facts = {
        "errors": [],
        "functions": functions,
        "variables": [variable],
        "pointers": {},
        "kernel": {},
        "ops_flags": {},
        "ops_members": [],
        "file_asm": [],
    }
    return Program(read_facts(json.dumps(facts)), "line one\n", "toy")


def function(name: str, section: str, body: Tree) -> Tree:
    return {
        "name": name,
        "file": "toy.bpf.c",
        "line": 1,
        "static": not section,
        "section": section,
        "params": ["p"],
        "body": body,
    }


def insert(queue: Tree) -> Tree:
    return call("scx_bpf_dsq_insert", ref("p", "param"), queue, num(1), num(0))


def reasons(found: Any) -> list[str]:
    return [finding.reason for finding in found]


def test_a_queue_is_made_filled_and_emptied() -> None:
    made = block({"k": "return", "a": [call("scx_bpf_create_dsq", num(7), num(-1))]})
    emptied = block(call("scx_bpf_dsq_move_to_local", num(7)))
    good = program(enqueue=block(insert(num(7))), dispatch=emptied, init=made)
    assert reasons(check_queues(good)) == []
    assert reasons(check_queues(program(enqueue=block(insert(num(7))), init=made))) == [
        "source.queue-not-emptied"
    ]
    assert "source.queue-not-created" in reasons(
        check_queues(program(enqueue=block(insert(num(8))), dispatch=emptied, init=made))
    )


def test_a_number_through_a_wrapper_and_a_choice_is_followed() -> None:
    choice = {"k": "cond", "a": [ref("x"), num(7), num(8)]}
    wrapper = block(call("scx_bpf_dsq_insert", ref("p", "param"), ref("p", "param")))
    found = program(
        {"put": wrapper},
        enqueue=block(call("put", choice)),
        dispatch=block(call("scx_bpf_dsq_move_to_local", num(7))),
        init=block({"k": "return", "a": [call("scx_bpf_create_dsq", num(7), num(-1))]}),
    )
    assert sorted(reasons(check_queues(found))) == [
        "source.queue-not-created",
        "source.queue-not-emptied",
    ]


@pytest.mark.parametrize(
    ("number", "builtin"),
    [(BUILTIN | 1, True), (BUILTIN | 1 << 62, True), (-1, False), ((1 << 64) - 1, False)],
)
def test_a_number_that_means_none_is_no_built_in_queue(number: int, builtin: bool) -> None:
    found = reasons(check_queues(program(dispatch=block(call("scx_bpf_consume", num(number))))))
    assert ("source.queue-builtin-emptied" in found) is builtin


def test_built_in_queues_need_neither() -> None:
    assert reasons(check_queues(program(enqueue=block(insert(num(BUILTIN | 1)))))) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (block(call("bpf_map_push_elem")), ["source.ignored-return"]),
        (block({"k": "void", "a": [call("bpf_map_push_elem")]}), ["source.ignored-return"]),
        (block(decl("err", call("bpf_map_push_elem"))), ["source.ignored-return"]),
        (block(decl("err", call("bpf_map_push_elem")), {"k": "return", "a": [ref("err")]}), []),
        (block({"k": "if", "a": [call("bpf_map_push_elem"), block()]}), []),
        (block({"k": "if", "a": [ref("x"), call("bpf_map_push_elem")]}), ["source.ignored-return"]),
        (block({"k": "return", "a": [call("bpf_map_push_elem")]}), []),
    ],
)
def test_returns(body: Tree, expected: list[str]) -> None:
    assert reasons(check_returns(program(enqueue=body))) == expected


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([insert(num(1)), insert(num(1))], ["source.inserted-twice"]),
        ([insert(num(1)), {"k": "if", "a": [ref("x"), insert(num(1))]}], []),
        ([insert(num(1)), binary("=", ref("p"), ref("q")), insert(num(1))], []),
    ],
)
def test_inserts(statements: list[Tree], expected: list[str]) -> None:
    assert reasons(check_inserts(program(enqueue=block(*statements)))) == expected


@pytest.mark.parametrize(
    ("cpu", "before", "expected"),
    [
        (num(0), [], []),
        (num(3), [], ["source.cpu-unchecked"]),
        (call("scx_bpf_task_cpu", ref("p", "param")), [], []),
        (ref("c"), [decl("c", call("scx_bpf_pick_idle_cpu"))], ["source.cpu-unchecked"]),
        (
            ref("c"),
            [
                decl("c", call("scx_bpf_pick_idle_cpu")),
                {"k": "if", "a": [binary("<", ref("c"), num(0)), {"k": "return", "a": []}]},
            ],
            [],
        ),
        (binary("%", ref("x"), call("scx_bpf_nr_cpu_ids")), [], []),
        (binary("+", call("scx_bpf_task_cpu"), num(1)), [], ["source.cpu-unchecked"]),
    ],
)
def test_cpus(cpu: Tree, before: list[Tree], expected: list[str]) -> None:
    found = program(enqueue=block(*before, call("scx_bpf_kick_cpu", cpu, num(0))))
    assert reasons(check_cpus(found)) == expected


def loop(count: int | Tree, callback: str) -> Tree:
    bound = num(count) if isinstance(count, int) else count
    return call("bpf_loop", bound, ref(callback, "func"), num(0), num(0))


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (1000, 1000, []),
        (MOST, 1, []),
        (MOST + 1, 1, ["source.loop-nested"]),
        (1 << 12, 1 << 11, ["source.loop-nested"]),
    ],
)
def test_rounds_of_nested_loops_are_multiplied(outer: int, inner: int, expected: list[str]) -> None:
    more = {"in": block({"k": "return", "a": [num(0)]}), "out": block(loop(inner, "in"))}
    assert reasons(check_loops(program(more, enqueue=block(loop(outer, "out"))))) == expected


def test_a_bound_from_data_needs_a_limit() -> None:
    data = {"k": "member", "n": "pid", "of": "task_struct", "a": [ref("p", "param")]}
    more = {"in": block()}
    assert reasons(check_loops(program(more, enqueue=block(loop(data, "in"))))) == [
        "source.loop-unbounded"
    ]
    masked = binary("&", data, num(63))
    assert reasons(check_loops(program(more, enqueue=block(loop(masked, "in"))))) == []


def test_recursion_ends() -> None:
    more = {"a": block(call("b")), "b": block(call("a"), loop(5, "a"))}
    assert reasons(check_loops(program(more, enqueue=block(call("a"))))) == []


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
    ).map(json.dumps)
)
def test_what_the_sandbox_prints_is_not_believed(text: str) -> None:
    with pytest.raises(FactsError):
        read_facts(text)


def test_a_tree_too_deep_is_an_error() -> None:
    good = json.dumps(
        {
            "errors": [],
            "functions": [function("f", "", num(1))],
            "variables": [],
            "pointers": {},
            "kernel": {},
            "ops_flags": {},
            "ops_members": [],
            "file_asm": [],
        }
    )
    assert read_facts(good).functions
    body = json.dumps(num(1))
    for depth in (600, 100_000):
        deep = '{"k": "un", "a": [' * depth + body + "]}" * depth
        with pytest.raises(FactsError):
            read_facts(good.replace(body, deep))
