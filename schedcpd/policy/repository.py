# SPDX-License-Identifier: Apache-2.0
"""The Scheduler Policy Repository: every policy and rule in force, as one frozen snapshot.

Of two files of the same name the one in the later directory counts; an empty one, or a symlink
to /dev/null, masks the earlier. A broken file is reported and left out whole, or, on a reload,
its last good version stays. Names are unique over all files: of two files that define the same
one the later by name is the broken one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from schedcpd.config import AUTO, KERNEL_DEFAULT, Config
from schedcpd.errors import ConfigError, NotFoundError, SchedcpError
from schedcpd.host import yamlfields
from schedcpd.host.manifest import Manifest, load_manifests, object_path, object_sha256
from schedcpd.host.program_file import Programs
from schedcpd.host.yamlpos import Problems, read_bytes, shown
from schedcpd.model import Conditions, IntentClass, Policy, Rule, SchedulerObject
from schedcpd.policy.conflicts import check_names, check_rules
from schedcpd.policy.schema import PolicyFile, read_policy_file

MAX_FILES = 1000
ORIGINS = ("shipped", "admin", "runtime")

KERNEL_POLICY = Policy(
    name=KERNEL_DEFAULT,
    description="The kernel's own scheduler; no sched_ext scheduler is loaded.",
    scheduler="",
    tunables=MappingProxyType({}),
    intents=(IntentClass.NORMAL,),
    chosen_for=(IntentClass.NORMAL,),
    conditions=Conditions(),
    priority=0,
    slo_delay_p99_us=MappingProxyType({}),
    origin="built-in",
    file="",
    line=0,
)


@dataclass(frozen=True, slots=True)
class Repository:
    """Everything read at one moment. Never changes; a reload makes another one."""

    _policies: tuple[Policy, ...] = (KERNEL_POLICY,)
    _rules: tuple[Rule, ...] = ()
    _problems: tuple[ConfigError, ...] = ()
    _manifests: Mapping[str, Manifest] = field(default_factory=dict)
    _objects: Mapping[str, SchedulerObject] = field(default_factory=dict)
    _good: Mapping[str, bytes] = field(default_factory=dict)  # path -> bytes in force
    _missing: Mapping[str, str] = field(default_factory=dict)

    def policies(self) -> tuple[Policy, ...]:
        """By name; kernel-default is always the first."""
        return self._policies

    def policy(self, name: str) -> Policy:
        """Raises NotFoundError, with the closest name as its hint."""
        known = {policy.name: policy for policy in self._policies}
        if name not in known:
            hint = yamlfields.one_of(name, known)
            raise NotFoundError(f"there is no policy {shown(name)}", hint=hint)
        return known[name]

    def rules(self) -> tuple[Rule, ...]:
        """In the order of their files; `infer` orders them by priority."""
        return self._rules

    def problems(self) -> tuple[ConfigError, ...]:
        """Everything wrong in any file; empty when all are in force as written."""
        return self._problems

    def manifests(self) -> Mapping[str, Manifest]:
        """By scheduler name."""
        return self._manifests

    def objects(self) -> Mapping[str, SchedulerObject]:
        """The compiled object of each scheduler whose object could be read."""
        return self._objects

    def missing(self) -> Mapping[str, str]:
        """External schedulers that policies name and that cannot be run here -> why."""
        return self._missing


def load(
    policy_dirs: Sequence[Path],
    bpf_dir: Path,
    previous: Repository | None = None,
    programs: Programs | None = None,
) -> Repository:
    """Reads everything. Never raises for what a file holds: see `Repository.problems`.

    `programs` finds external schedulers; None: they are not looked for.
    """
    problems: list[ConfigError] = []
    files = files_in_force(policy_dirs, problems)
    return load_files(files, bpf_dir, problems, previous, programs)


def load_files(
    files: Sequence[tuple[Path, str]],
    bpf_dir: Path,
    problems: Sequence[ConfigError] = (),
    previous: Repository | None = None,
    programs: Programs | None = None,
) -> Repository:
    """Reads (path, origin) in this order; `problems` are those already found."""
    manifests, wrong_manifests = load_manifests(bpf_dir)
    told = [*wrong_manifests, *problems]
    old = previous._good if previous else {}
    policies: dict[str, Policy] = {}
    rules: dict[str, Rule] = {}
    good: dict[str, bytes] = {}
    for path, origin in files:
        wrong = Problems(str(path))
        data = read_bytes(path, wrong)
        found = None
        if data is not None:
            found = _read(data, wrong, manifests, origin, policies, rules)
        if wrong:
            data = old.get(str(path))
            if data is not None:
                again = Problems(str(path))
                found = _read(data, again, manifests, origin, policies, rules)
            told += [*wrong.errors(), _fate(path, kept=found is not None)]
        if found is None or data is None:
            continue
        good[str(path)] = data
        policies.update((policy.name, policy) for policy in found.policies)
        rules.update((rule.name, rule) for rule in found.rules)
    external = sorted({policy.scheduler for policy in policies.values() if policy.external})
    outside, missing = _programs(external, programs)
    return Repository(
        (KERNEL_POLICY, *(policies[name] for name in sorted(policies))),
        tuple(rules.values()),
        tuple(told),
        manifests,
        MappingProxyType({**outside, **_objects(bpf_dir, manifests)}),
        MappingProxyType(good),
        MappingProxyType(missing),
    )


def check(config: Config) -> tuple[ConfigError, ...]:
    """What `schedcpd --check-config` adds: every problem of policies, rules and manifests."""
    repository = load(config.policy_dirs, config.bpf_dir)
    known = {policy.name for policy in repository.policies()}
    if config.policy == AUTO or config.policy in known:
        return repository.problems()
    hint = yamlfields.one_of(config.policy, {AUTO, *known})
    absent = ConfigError(f"there is no policy {config.policy}", field="policy", hint=hint)
    return (*repository.problems(), absent)


def files_in_force(
    directories: Sequence[Path], problems: list[ConfigError]
) -> list[tuple[Path, str]]:
    """(path, origin) of each file that is not overridden, in the order of their names."""
    by_name: dict[str, tuple[Path, str]] = {}
    for i, directory in enumerate(directories):
        origin = ORIGINS[min(i, len(ORIGINS) - 1)]
        try:
            entries = sorted(directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            problems.append(ConfigError(f"cannot be read: {error.strerror}", file=str(directory)))
            continue
        for path in entries:
            if path.name.startswith("."):
                continue
            if path.suffix == ".yaml":
                by_name[path.name] = (path, origin)
            elif path.suffix == ".yml":
                hint = "rename it to .yaml"
                problems.append(ConfigError("is not read", file=str(path), hint=hint))
    names = sorted(by_name)
    for name in names[MAX_FILES:]:
        message = f"is left out: there are more than {MAX_FILES} policy files"
        problems.append(ConfigError(message, file=str(by_name[name][0])))
    return [by_name[name] for name in names[:MAX_FILES]]


def _read(
    data: bytes,
    problems: Problems,
    manifests: Mapping[str, Manifest],
    origin: str,
    policies: Mapping[str, Policy],
    rules: Mapping[str, Rule],
) -> PolicyFile | None:
    """The file's content, None when it is empty (a mask) or not good beside what is in force."""
    found = read_policy_file(data, problems, manifests, origin, policies)
    if found is not None:
        check_names(found.policies, policies, "policy", problems)
        check_names(found.rules, rules, "rule", problems)
        check_rules(found.rules, rules.values(), problems)
    return None if problems else found


def _fate(path: Path, *, kept: bool) -> ConfigError:
    said = "its last good version stays in force" if kept else "the whole file is left out"
    return ConfigError(said, file=str(path), hint="correct it and reload")


def _objects(bpf_dir: Path, manifests: Mapping[str, Manifest]) -> dict[str, SchedulerObject]:
    found: dict[str, SchedulerObject] = {}
    for name in sorted(manifests):
        path = object_path(bpf_dir, name)
        sha256 = object_sha256(path)
        if sha256 is not None:
            found[name] = SchedulerObject(name, str(path), sha256)
    return found


def _programs(
    names: Sequence[str], programs: Programs | None
) -> tuple[dict[str, SchedulerObject], dict[str, str]]:
    """Those that can be run, and why the others cannot."""
    found: dict[str, SchedulerObject] = {}
    missing: dict[str, str] = {}
    for name in names if programs is not None else ():
        assert programs is not None
        try:
            found[name] = programs.find(name)
        except SchedcpError as error:
            missing[name] = str(error)
    return found, missing
