# SPDX-License-Identifier: Apache-2.0
"""Failures that nobody looks at: a full queue or map loses a task without a word."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.program import Program

MUST_USE = {
    "scx_bpf_create_dsq": "the queue may not exist",
}
# Only where a task is on its way: losing a statistic or a free slot is no harm to anybody.
MUST_USE_ON_THE_WAY = {
    "bpf_map_push_elem": "the queue may be full, and what was to go in is lost",
    "bpf_map_pop_elem": "the queue may be empty, and the value is then nothing",
    "bpf_map_peek_elem": "the queue may be empty, and the value is then nothing",
    "bpf_map_update_elem": "the map may be full, and what was to be kept is lost",
}
ON_THE_WAY = frozenset({"select_cpu", "enqueue", "dispatch"})


def check_returns(program: Program) -> Iterator[Finding]:
    for call in program.calls_of(*MUST_USE, *MUST_USE_ON_THE_WAY):
        ops = program.ops_of.get(call.function.name, frozenset())
        why = MUST_USE.get(call.callee)
        if why is None and ops & ON_THE_WAY:
            why = MUST_USE_ON_THE_WAY[call.callee]
        if why is not None and call.use != "used":
            how = "ignored" if call.use == "ignored" else "kept, but never looked at"
            yield Finding(
                "source.ignored-return",
                f"What {call.callee} returns is {how}: {why}.",
                program.place(call.function, call.node),
                "test it, and have another way for the task (the global queue), or scx_bpf_error()",
            )
