# SPDX-License-Identifier: Apache-2.0
"""Intent by rules: the part that always works, without files and without a model.

The first matching rule wins: higher priority first, then the more specific one (more keys,
then more characters that are not wildcards), then file and name, so that the order in which
rules were read never matters. The embedded rules have priority 0 and so come last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schedcpd.host.globs import literals, name_matches, path_matches
from schedcpd.host.yamlpos import shown
from schedcpd.infer.embedded import EMBEDDED
from schedcpd.model import Intent, IntentClass, IntentSource, Rule, WorkloadProfile

MAX_EXECUTABLES = 64  # looked at per workload: a cgroup may hold thousands


class RuleBook:
    """Rules in the order in which they are tried. Immutable; made anew on a reload."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(sorted([*rules, *EMBEDDED], key=_order))

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self._rules

    def infer(self, profile: WorkloadProfile) -> Intent | None:
        """What the first matching rule says, None when none matches."""
        facts = _facts(profile)
        for rule in self._rules:
            said = _match(rule, facts)
            if said:
                return Intent(
                    workload_id=profile.id,
                    intent_class=rule.intent,
                    source=IntentSource.RULE,
                    reason=f"rule {rule.name} in {rule.file}: {said}; {rule.why}",
                    rule=rule.id,
                )
        return None


def infer(profile: WorkloadProfile, rules: Iterable[Rule]) -> Intent | None:
    """What `rules`, then the embedded ones, say of one workload. Keep a RuleBook for many."""
    return RuleBook(rules).infer(profile)


def default(profile: WorkloadProfile) -> Intent:
    """What a workload gets of which nothing is known."""
    return Intent(profile.id, IntentClass.NORMAL, IntentSource.DEFAULT, "no rule matches: normal")


def _order(rule: Rule) -> tuple[int, int, int, str, str, str]:
    """Sorts first what is tried first."""
    fixed = sum(min(map(literals, globs), default=0) for globs in rule.match.values())
    return (-rule.priority, -len(rule.match), -fixed, rule.file, rule.name, rule.intent)


def _facts(profile: WorkloadProfile) -> Mapping[str, tuple[str, ...]]:
    identity = profile.identity
    return {
        "unit": (identity.unit,),
        "slice": (identity.slice,),
        "desktop_id": (identity.desktop_id,),
        "container": (identity.container, identity.name) if identity.container else (),
        "image": (identity.image,),
        "label": identity.labels,
        "executable": (identity.executable,),
        "any_executable": (identity.executable, *profile.executables[:MAX_EXECUTABLES]),
        "comm": (identity.comm,),
        "cgroup": (profile.cgroup,),
        "kind": (identity.kind.value,),
    }


def _match(rule: Rule, facts: Mapping[str, tuple[str, ...]]) -> str:
    """What matched, as "executable make, unit build.service"; "" when the rule does not."""
    said = []
    for key, globs in rule.match.items():
        found = _value(key, globs, facts)
        if found is None:
            return ""
        value, glob = found
        # A label may hold a secret, which whoever wrote the rule did not have to know.
        said.append(f"{key} {shown(glob if key == 'label' else value)}")
    if any(_value(key, globs, facts) is not None for key, globs in rule.exclude.items()):
        return ""
    return ", ".join(said)


def _value(
    key: str, globs: tuple[str, ...], facts: Mapping[str, tuple[str, ...]]
) -> tuple[str, str] | None:
    """The first value that a glob matches, and that glob."""
    matches = path_matches if key == "cgroup" else name_matches
    for value in facts[key]:
        glob = matches(globs, value)
        if glob is not None:
            return value, glob
    return None
