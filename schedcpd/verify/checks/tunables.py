# SPDX-License-Identifier: Apache-2.0
"""`tunables`: values have the manifest's types and ranges, and the object has the variables."""

from __future__ import annotations

from collections.abc import Iterator

from schedcpd.host.manifest import tunable_problem
from schedcpd.verify.bpf_object import ObjectError, parse_object
from schedcpd.verify.check import Finding, Report, Subject
from schedcpd.verify.guest import Guest

# Bytes a C variable of the manifest's type may have.
_SIZES = {"bool": {1}, "int": {1, 2, 4, 8}, "float": {4, 8}}


class TunablesCheck:
    """Types and ranges against the manifest, the manifest against the object's variables."""

    name = "tunables"

    async def run(self, subject: Subject, guest: Guest) -> Report:
        return check_values(subject)


def check_values(subject: Subject) -> Report:
    """The check itself, without a VM."""
    findings = (*_values(subject), *_variables(subject))
    given = ", ".join(f"{name}={value}" for name, value in sorted(subject.tunables.items()))
    return Report(
        f"{len(subject.tunables)} tunables are within their declared ranges.", findings, given
    )


def _values(subject: Subject) -> Iterator[Finding]:
    for name, value in sorted(subject.tunables.items()):
        problem = tunable_problem(subject.manifest, name, value)
        if problem is not None:
            sentence, fix = problem
            yield Finding("tunables.value", f"Tunable {name}: {sentence}.", hint=fix)


def _variables(subject: Subject) -> Iterator[Finding]:
    try:
        found = parse_object(subject.data)
    except ObjectError:
        return  # `object` has said so
    variables, labels = found.variables, [ops.label for ops in found.struct_ops]
    if labels and subject.manifest.ops not in labels:
        yield Finding(
            "tunables.ops",
            f"The manifest says its ops are {subject.manifest.ops}; the object's are {labels[0]}.",
            hint=f"write `ops: {labels[0]}` in the manifest",
        )
    for name, spec in subject.manifest.tunables.items():
        section, size = variables.get(name, ("", 0))
        if not section.startswith(".data" if spec.live else ".rodata"):
            where = "a global variable" if spec.live else "a `const volatile`"
            yield Finding(
                "tunables.variable",
                f"The manifest names tunable {name}, but the object has no such "
                f"{where.removeprefix('a ')}.",
                f"it is in {section}" if section else "",
                f"declare {where} of that name, or take it out of the manifest",
            )
        elif size not in _SIZES[spec.type]:
            yield Finding(
                "tunables.variable",
                f"Tunable {name} is {spec.type} in the manifest and {size} bytes in the object.",
            )
