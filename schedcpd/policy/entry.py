# SPDX-License-Identifier: Apache-2.0
"""What policies and rules have in common: names, sentences, priorities, lists of classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schedcpd.host import yamlfields
from schedcpd.host.yamlpos import Node, Problems
from schedcpd.model import IntentClass

CLASSES = tuple(intent.value for intent in IntentClass)
DEFAULT_PRIORITY = 50
_NAME_MEANS = "a name of lower-case letters, digits and dashes, at most 64"


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy's or rule's map, its dotted place, and where its problems go."""

    got: Mapping[str, Node]
    where: str
    problems: Problems

    def at(self, key: str) -> str:
        return f"{self.where}.{key}"

    def line(self, key: str) -> int:
        return self.got[key].line

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str | None:
        """The text under `key`; None when it is absent or wrong."""
        if key not in self.got:
            return None
        return yamlfields.text(
            self.got[key],
            self.problems,
            self.at(key),
            pattern=pattern,
            pattern_means=_NAME_MEANS,
        )

    def priority(self, lo: int) -> int:
        if "priority" not in self.got:
            return DEFAULT_PRIORITY
        node = self.got["priority"]
        return yamlfields.integer(node, self.problems, self.at("priority"), lo=lo, hi=1000) or 0

    def classes(self, key: str) -> tuple[IntentClass, ...] | None:
        """Intent classes in the order of their numbers; None when absent, empty or wrong."""
        if key not in self.got:
            return None
        names = yamlfields.texts(self.got[key], self.problems, self.at(key), choices=CLASSES)
        if names == ():
            self.problems.add(self.line(key), self.at(key), "is an empty list", "name a class")
        return tuple(i for i in IntentClass if i.value in names) if names else None
