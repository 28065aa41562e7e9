# SPDX-License-Identifier: Apache-2.0
"""Dispatch queues: filled ones are emptied, used ones are made, and each has one order."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.verify.check import Finding
from schedcpd.verify.source.program import Call, Program, Values

FIFO = {
    "scx_bpf_dsq_insert": 1,
    "scx_bpf_dispatch": 1,
    "scx_bpf_dsq_move": 2,
    "scx_bpf_dispatch_from_dsq": 2,
}
VTIME = {
    "scx_bpf_dsq_insert_vtime": 1,
    "scx_bpf_dispatch_vtime": 1,
    "scx_bpf_dsq_move_vtime": 2,
    "scx_bpf_dispatch_vtime_from_dsq": 2,
}
EMPTIED = {"scx_bpf_dsq_move_to_local": 0, "scx_bpf_consume": 0}
WALKED = {"bpf_iter_scx_dsq_new": 1}
CREATED = {"scx_bpf_create_dsq": 0}
BUILTIN = 1 << 63
_REST = (1 << 62) - (1 << 32)  # bits that no built-in number has
_PACKED = "__scx_bpf_dsq_insert_vtime"

Use = tuple[Call, Values]


def check_queues(program: Program) -> Iterator[Finding]:
    fifo, vtime = _uses(program, FIFO), _uses(program, VTIME)
    emptied, created = _uses(program, EMPTIED), _uses(program, CREATED)
    walked = _uses(program, WALKED)
    yield from _builtin(program, vtime, emptied)
    yield from _mixed(program, fifo, vtime)
    yield from _unmade(program, [*fifo, *vtime, *emptied], created)
    yield from _unemptied(program, [*fifo, *vtime], [*emptied, *walked])
    yield from _leaked(program, created)


def _uses(program: Program, table: dict[str, int]) -> list[Use]:
    return [
        (call, program.values(call.argument(table[call.callee]), call.function))
        for call in program.calls_of(*table)
    ]


def _is_builtin(number: int) -> bool:
    """enum scx_dsq_id_flags: the top bit and a small number, or LOCAL_ON. Not -1, for "none"."""
    return bool(number & BUILTIN) and number & _REST == 0 and number > 0


def _own(values: Values) -> frozenset[int]:
    """Numbers of queues that a scheduler makes itself."""
    return frozenset(v for v in values.known if not v & BUILTIN)


def _all(uses: list[Use]) -> Values:
    found = Values(frozenset(), True)
    for _, values in uses:
        found |= values
    return found


def _builtin(program: Program, vtime: list[Use], emptied: list[Use]) -> Iterator[Finding]:
    for call, values in vtime:
        if any(map(_is_builtin, values.known)):
            yield Finding(
                "source.vtime-on-builtin",
                "It orders a built-in queue by virtual time; those are first in, first out.",
                program.place(call.function, call.node),
                "make a queue of your own with scx_bpf_create_dsq() and empty it in dispatch",
            )
    for call, values in emptied:
        if any(map(_is_builtin, values.known)):
            yield Finding(
                "source.queue-builtin-emptied",
                "It moves tasks out of a built-in queue, which the kernel does by itself.",
                program.place(call.function, call.node),
                "only queues of your own are emptied in dispatch",
            )


def _mixed(program: Program, fifo: list[Use], vtime: list[Use]) -> Iterator[Finding]:
    both = _own(_all(fifo)) & _own(_all(vtime))
    for call, values in fifo:
        if _own(values) & both:
            yield Finding(
                "source.queue-mixed",
                f"Queue {min(_own(values) & both)} is filled both in order of arrival and by "
                "virtual time.",
                program.place(call.function, call.node),
                "one queue has one order; make a second queue",
            )
            return


def _unmade(program: Program, used: list[Use], created: list[Use]) -> Iterator[Finding]:
    made = _all(created)
    if not made.exact:
        return
    said: set[int] = set()
    for call, values in used:
        for number in sorted(_own(values) - made.known - said):
            said.add(number)
            yield Finding(
                "source.queue-not-created",
                f"Queue {number} is used and never made.",
                program.place(call.function, call.node),
                "call scx_bpf_create_dsq() for it in ops.init and return its error",
            )


def _unemptied(program: Program, filled: list[Use], emptied: list[Use]) -> Iterator[Finding]:
    taken = _all(emptied)
    if emptied and not taken.exact:
        return
    said: set[int] = set()
    for call, values in filled:
        for number in sorted(_own(values) - taken.known - said):
            said.add(number)
            yield Finding(
                "source.queue-not-emptied",
                f"Queue {number} is filled, and nothing ever takes from it.",
                program.place(call.function, call.node),
                "call scx_bpf_dsq_move_to_local() for it in ops.dispatch",
            )
        if not values.exact and not emptied:
            yield Finding(
                "source.queue-not-emptied",
                "Queues are filled, and nothing in the source takes from any.",
                program.place(call.function, call.node),
                "call scx_bpf_dsq_move_to_local() in ops.dispatch",
            )
            return


def _leaked(program: Program, created: list[Use]) -> Iterator[Finding]:
    if any(True for _ in program.calls_of("scx_bpf_destroy_dsq")):
        return
    for call, _ in created:
        ops = program.ops_of.get(call.function.name, frozenset()) & {"init_task", "cgroup_init"}
        if ops:
            yield Finding(
                "source.queue-leak",
                f"ops.{min(ops)} makes a queue each time, and nothing destroys them.",
                program.place(call.function, call.node),
                "call scx_bpf_destroy_dsq() in ops.exit_task or ops.cgroup_exit",
            )
