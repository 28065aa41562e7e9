# SPDX-License-Identifier: Apache-2.0
"""Failures that nobody looks at: a full queue or map loses a task without a word."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.program import Program

MUST_USE = {
    "scx_bpf_create_dsq": "the queue may not exist",
    "bpf_map_push_elem": "the queue may be full, and what was to go in is lost",
    "bpf_map_pop_elem": "the queue may be empty, and the value is then nothing",
    "bpf_map_peek_elem": "the queue may be empty, and the value is then nothing",
    "bpf_map_update_elem": "the map may be full, and what was to be kept is lost",
    "bpf_timer_init": "the timer may not exist",
    "bpf_timer_set_callback": "the timer may never run",
}


def check_returns(program: Program) -> Iterator[Finding]:
    for call in program.calls_of(*MUST_USE):
        if call.use != "used":
            how = "ignored" if call.use == "ignored" else "kept, but never looked at"
            yield Finding(
                "source.ignored-return",
                f"What {call.callee} returns is {how}: {MUST_USE[call.callee]}.",
                program.place(call.function, call.node),
                "test it, and have another way for the task (the global queue), or scx_bpf_error()",
            )
