# SPDX-License-Identifier: Apache-2.0
"""Every kind of arm by its name. Adding one is a class, a line in KINDS, and a section of
docs/schedbench/arms.md.

An arm's name is its kind, with an argument behind a colon where the kind takes one, as in
`policy:intent`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from schedbench.arms import bandit, default, external, policy, random_search, schedcp, tuned
from schedbench.arms.base import Arm
from schedbench.errors import BenchError
from schedbench.model import Clock
from schedbench.records import ARM_NAME
from schedcpd.host.yamlfields import one_of
from schedcpd.microvm.cache import Progress

BOTH = frozenset(Clock)
WALL = frozenset({Clock.WALL})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of arm. `argument`: what may follow the colon, in words; "" for nothing.

    `make` builds what the arm needs (compiling, if need be) from its whole name and its argument.
    """

    title: str
    make: Callable[[str, str, Progress], Awaitable[Arm]]
    clocks: frozenset[Clock] = BOTH
    told_intents: bool = False
    argument: str = ""
    needs_argument: bool = False


_SEARCHED = "a scheduler of bpf/schedulers (it is then told intents); the kernel's knobs without"
KINDS = {
    "default": Kind("the kernel's own scheduler, untouched", default.make),
    "noop": Kind("nothing, under another name: what it scores is noise", default.make),
    "tuned": Kind(
        "the kernel's own scheduler with documented knobs",
        tuned.make,
        argument="throughput (if none is given) or latency",
    ),
    "policy": Kind(
        "a scheduler of ours with fixed tunables, told every part's intent",
        policy.make,
        told_intents=True,
        argument="a scheduler of bpf/schedulers",
        needs_argument=True,
    ),
    "intent": Kind("short for policy:intent", policy.make, told_intents=True),
    "schedcp": Kind("the package as installed: its rules decide", schedcp.make, clocks=WALL),
    "random": Kind(
        "learns: random search over tunables",
        random_search.make,
        told_intents=True,
        argument=_SEARCHED,
    ),
    "bandit": Kind(
        "learns: sequential halving over tunables",
        bandit.make,
        told_intents=True,
        argument=_SEARCHED,
    ),
    "scx": Kind(
        "a scheduler program from elsewhere",
        external.make,
        argument="a program on PATH, such as scx_simple",
        needs_argument=True,
    ),
}


def kind_of(name: str) -> tuple[Kind, str]:
    """The kind and the argument of an arm's name. Raises BenchError naming what there is."""
    word, colon, argument = name.partition(":")
    kind = KINDS.get(word)
    if kind is None:
        raise BenchError(f"there is no arm {word!r}", hint=one_of(word, KINDS))
    if colon and not kind.argument:
        raise BenchError(f"the arm {word!r} takes no argument", hint=f"write {word}")
    if kind.needs_argument and not argument:
        raise BenchError(
            f"the arm {word!r} needs an argument",
            hint=f"write {word}:NAME; NAME is {kind.argument}",
        )
    if not ARM_NAME.fullmatch(name):
        raise BenchError(
            f"{name!r} is not an arm's name", hint="letters, digits, dots, dashes and underscores"
        )
    return kind, argument


async def load(name: str, progress: Progress) -> Arm:
    """The arm of that name, with everything built that it needs.

    Raises BenchError for a name that is none, or another SchedcpError saying what is missing.
    """
    kind, argument = kind_of(name)
    return await kind.make(name, argument, progress)
