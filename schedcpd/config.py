# SPDX-License-Identifier: Apache-2.0
"""The daemon's configuration: one frozen `Config` out of YAML files, or every reason why not.

`/etc/schedcp/schedcpd.yaml` is read first, then `/etc/schedcp/schedcpd.yaml.d/*.yaml` in the
order of their names; maps are merged key by key, anything else is replaced. The schema is
closed. A field's metadata is its one definition: how it is read, its unit and what it means.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from schedcpd.errors import ConfigError, ConfigErrors
from schedcpd.host import yamlfields
from schedcpd.host.globs import complaint
from schedcpd.host.yamlpos import Node, Problems, Scalar, parse, read_bytes, shown

DEFAULT_FILE = Path("/etc/schedcp/schedcpd.yaml")
AUTO = "auto"
KERNEL_DEFAULT = "kernel-default"
POLICY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

_Reader = Callable[[Node, Problems, str], object]


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Switch(StrEnum):
    """`auto` means: on when the thing it needs is there."""

    AUTO = "auto"
    ON = "true"
    OFF = "false"


def _meta(read: _Reader, doc: str, unit: str = "") -> dict[str, Any]:
    return {"read": read, "doc": doc, "unit": unit}


def _whole(lo: int, hi: int, doc: str, unit: str) -> dict[str, Any]:
    def read(node: Node, problems: Problems, where: str) -> object:
        return yamlfields.integer(node, problems, where, lo=lo, hi=hi, unit=unit)

    return _meta(read, doc, unit)


def _real(lo: float, hi: float, doc: str, unit: str = "") -> dict[str, Any]:
    def read(node: Node, problems: Problems, where: str) -> object:
        return yamlfields.number(node, problems, where, lo=lo, hi=hi, unit=unit)

    return _meta(read, doc, unit)


def _path_of(node: Node, problems: Problems, where: str) -> Path | None:
    text = yamlfields.text(node, problems, where)
    if text is None:
        return None
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        problems.add(
            node.line, where, f'"{text}" is not an absolute path', "begin it with / and no .."
        )
        return None
    return path


def _paths_of(node: Node, problems: Problems, where: str) -> tuple[Path, ...] | None:
    nodes = yamlfields.items(node, problems, where, at_most=16)
    if nodes is None:
        return None
    found = [_path_of(n, problems, f"{where}[{i}]") for i, n in enumerate(nodes)]
    good = tuple(path for path in found if path is not None)
    return good if len(good) == len(found) else None


def _log_level(node: Node, problems: Problems, where: str) -> LogLevel | None:
    text = yamlfields.text(node, problems, where, choices=[level.value for level in LogLevel])
    return None if text is None else LogLevel(text)


def _switch(node: Node, problems: Problems, where: str) -> Switch | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, bool):
        return Switch.ON if value else Switch.OFF
    if value == AUTO:
        return Switch.AUTO
    found = yamlfields.describe(node)
    problems.add(node.line, where, f"must be auto, true or false, is {found}", "write auto")
    return None


def _policy(node: Node, problems: Problems, where: str) -> str | None:
    return yamlfields.text(
        node,
        problems,
        where,
        pattern=POLICY_NAME,
        pattern_means="a policy's name (lower case, digits, dashes)",
    )


def _globs(node: Node, problems: Problems, where: str) -> tuple[str, ...] | None:
    globs = yamlfields.texts(node, problems, where, at_most=200)
    if globs is None:
        return None
    wrong = {glob: said for glob in globs if (said := complaint(glob, path=True))}
    for glob, said in wrong.items():
        problems.add(node.line, where, f'"{shown(glob)}" {said}', "write it as /a/*/b or /a/**")
    return None if wrong else globs


def _relook(node: Node, problems: Problems, where: str) -> tuple[int, ...] | None:
    nodes = yamlfields.items(node, problems, where, at_most=16)
    if nodes is None:
        return None
    found = [
        yamlfields.integer(n, problems, f"{where}[{i}]", lo=1, hi=600_000, unit="ms")
        for i, n in enumerate(nodes)
    ]
    delays = tuple(delay for delay in found if delay is not None)
    if len(delays) != len(found):
        return None
    if list(delays) != sorted(set(delays)):
        problems.add(node.line, where, "does not grow from entry to entry", "sort it")
        return None
    return delays


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What the daemon allows sched-agent. Its endpoint is in /etc/schedcp/agent.yaml."""

    enabled: Switch = field(
        default=Switch.AUTO,
        metadata=_meta(
            _switch, "Ask the model for workloads no rule knows; auto: when one is configured."
        ),
    )
    socket: Path = field(
        default=Path("/run/schedcp/agent.sock"),
        metadata=_meta(_path_of, "Socket of sched-agent; keep it equal to schedcp-agent.socket."),
    )
    calls_per_hour: int = field(
        default=30, metadata=_whole(0, 10_000, "Most model calls in any hour.", "calls")
    )
    tokens_per_hour: int = field(
        default=60_000,
        metadata=_whole(0, 100_000_000, "Most tokens, in and out, in any hour.", "tokens"),
    )
    timeout_s: float = field(
        default=20.0, metadata=_real(0.1, 600, "How long one answer may take.", "s")
    )
    min_confidence: float = field(
        default=0.6, metadata=_real(0, 1, "Answers less sure than this are not used.")
    )
    cache_s: int = field(
        default=86_400,
        metadata=_whole(0, 31_536_000, "How long an answer holds for the same application.", "s"),
    )


@dataclass(frozen=True, slots=True)
class DeployConfig:
    """How often and how carefully schedulers are swapped."""

    max_per_hour: int = field(
        default=6,
        metadata=_whole(1, 3600, "Most deployments in any hour that nobody asked for.", "swaps"),
    )
    hold_down_s: float = field(
        default=60.0,
        metadata=_real(0, 86_400, "Shortest time between two swaps that nobody asked for.", "s"),
    )
    canary_s: float = field(
        default=20.0,
        metadata=_real(0, 3600, "How long a new scheduler is watched before it is trusted.", "s"),
    )
    watch_s: float = field(
        default=0.5,
        metadata=_real(0.1, 60, "Time between two looks at a scheduler on trial; later ten.", "s"),
    )
    tail_rise: float = field(
        default=1.6,
        metadata=_real(
            1.1, 100, "A p99 run delay this many times that before ends a trial.", "times"
        ),
    )
    tail_floor_us: int = field(
        default=2000,
        metadata=_whole(0, 10_000_000, "A p99 run delay below this is no regression.", "us"),
    )
    pressure_rise: float = field(
        default=0.4,
        metadata=_real(
            0.01, 1, "Share of time in which tasks wait for a CPU, more than before: ends a trial."
        ),
    )
    errors_per_s: float = field(
        default=100.0,
        metadata=_real(0, 1e9, "Errors that the kernel counts for a scheduler: more end it.", "/s"),
    )
    heartbeats: int = field(
        default=3,
        metadata=_whole(
            1, 100, "Looks in a row that the scheduler host leaves unanswered.", "looks"
        ),
    )
    quarantine_s: float = field(
        default=3600.0,
        metadata=_real(0, 31_536_000, "How long what failed by measures is not tried again.", "s"),
    )
    setbacks_per_hour: int = field(
        default=3,
        metadata=_whole(1, 3600, "After so many in an hour nothing is swapped unasked.", "times"),
    )
    attach_timeout_s: float = field(
        default=10.0,
        metadata=_real(0.5, 120, "How long the kernel may take to enable a scheduler.", "s"),
    )


@dataclass(frozen=True, slots=True)
class ExternalConfig:
    """Schedulers of others: the scx_* programs found on the system. Nothing verifies them."""

    enabled: bool = field(
        default=False,
        metadata=_meta(yamlfields.boolean, "Let policies run external schedulers (scx_*)."),
    )
    start_timeout_s: float = field(
        default=120.0,
        metadata=_real(1, 600, "How long one may take until the kernel has enabled it.", "s"),
    )


@dataclass(frozen=True, slots=True)
class ObserveConfig:
    """What is watched, and how closely."""

    relook_ms: tuple[int, ...] = field(
        default=(50, 250, 1000, 5000),
        metadata=_meta(
            _relook, "When to look again who runs in a new cgroup, after it filled.", "ms"
        ),
    )
    ignore: tuple[str, ...] = field(
        default=("/*.mount", "/*.swap"),
        metadata=_meta(_globs, "cgroup paths that are never workloads (* stays in one level)."),
    )
    sample_s: float = field(
        default=10.0, metadata=_real(0.5, 3600, "Time between two readings of usage.", "s")
    )


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """How much of the past is kept."""

    keep_days: int = field(
        default=90, metadata=_whole(1, 36_500, "How long a record is kept.", "days")
    )
    max_rows: int = field(
        default=100_000, metadata=_whole(100, 100_000_000, "Most records kept.", "rows")
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the daemon can be told. `Config()` is what an empty file means."""

    log_level: LogLevel = field(
        default=LogLevel.INFO, metadata=_meta(_log_level, "debug, info, warning or error.")
    )
    policy: str = field(
        default=AUTO,
        metadata=_meta(
            _policy, "auto, the name of a policy, or kernel-default for the kernel's own scheduler."
        ),
    )
    require_local_verdict: bool = field(
        default=False,
        metadata=_meta(
            yamlfields.boolean,
            "Refuse schedulers that were proved only when the package was built.",
        ),
    )
    cgroup_root: Path = field(
        default=Path("/sys/fs/cgroup"), metadata=_meta(_path_of, "Where cgroup2 is mounted.")
    )
    state_dir: Path = field(
        default=Path("/var/lib/schedcp"), metadata=_meta(_path_of, "Kept over reboots.")
    )
    run_dir: Path = field(
        default=Path("/run/schedcp"),
        metadata=_meta(_path_of, "Sockets of the scheduler host and the verifier."),
    )
    policy_dirs: tuple[Path, ...] = field(
        default=(
            Path("/usr/share/schedcp/policies.d"),
            Path("/etc/schedcp/policies.d"),
            Path("/run/schedcp/policies.d"),
        ),
        metadata=_meta(_paths_of, "Policies and rules; of two files of one name the later wins."),
    )
    bpf_dir: Path = field(
        default=Path("/usr/share/schedcp/bpf"),
        metadata=_meta(_path_of, "Scheduler objects and their manifests."),
    )
    verdict_dirs: tuple[Path, ...] = field(
        default=(Path("/usr/share/schedcp/verdicts"), Path("/var/lib/schedcp/verdicts")),
        metadata=_meta(_paths_of, "Where verdicts are read; local ones are made in the last."),
    )
    agent: AgentConfig = field(default_factory=AgentConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    external: ExternalConfig = field(default_factory=ExternalConfig)
    observe: ObserveConfig = field(default_factory=ObserveConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)


SECTIONS: Mapping[str, type] = {
    "agent": AgentConfig,
    "deploy": DeployConfig,
    "external": ExternalConfig,
    "observe": ObserveConfig,
    "history": HistoryConfig,
}

_Values = dict[str, dict[str, Any]]  # section ("" for the top) -> field -> value


def load(main: Path = DEFAULT_FILE, *, must_exist: bool = False) -> Config:
    """Reads `main` and its drop-ins. Raises ConfigErrors with every problem of every file.

    A missing `main` means the defaults unless `must_exist`.
    """
    config, problems = examine(main, must_exist=must_exist)
    if problems:
        raise ConfigErrors(problems)
    return config


def loads(data: bytes, file: str = "<memory>") -> Config:
    """Like `load`, of one file's bytes."""
    problems = Problems(file)
    values: _Values = {}
    _merge(parse(data, problems), problems, values)
    if problems:
        raise ConfigErrors(problems.errors())
    return _build(values)


def examine(
    main: Path = DEFAULT_FILE, *, must_exist: bool = False
) -> tuple[Config, Sequence[ConfigError]]:
    """The configuration as far as it could be read, and every problem."""
    values: _Values = {}
    found: list[ConfigError] = []
    drop_ins = Problems(str(_drop_in_dir(main)))
    files = [main] if must_exist or _is_there(main) else []
    for file in [*files, *_drop_ins(main, drop_ins)]:
        problems = Problems(str(file))
        data = read_bytes(file, problems)
        if data is not None:
            _merge(parse(data, problems), problems, values)
        found += problems.errors()
    return _build(values), [*drop_ins.errors(), *found]


def check(
    main: Path,
    out: TextIO,
    more: Callable[[Config], Sequence[ConfigError]] = lambda _config: (),
    *,
    must_exist: bool = False,
) -> int:
    """`schedcpd --check-config`: prints every problem; 0 when there is none, else 1.

    `more` adds what other rooms find (policies), given the configuration as far as it is good.
    """
    config, problems = examine(main, must_exist=must_exist)
    problems = [*problems, *more(config)]
    for problem in problems:
        print(problem, file=out)
    count = len(problems)
    print(f"{count} problem{'s' if count != 1 else ''} found" if count else "no problems", file=out)
    return 1 if problems else 0


def _is_there(path: Path) -> bool:
    """False only when the kernel says so: a file we may not look at is there and is reported."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
    return True


def _drop_in_dir(main: Path) -> Path:
    return main.with_name(main.name + ".d")


def _drop_ins(main: Path, problems: Problems) -> list[Path]:
    directory = _drop_in_dir(main)
    try:
        found = sorted(directory.iterdir()) if _is_there(directory) else []
    except OSError as error:
        problems.add(0, "", f"cannot be read: {error.strerror}", "make it a readable directory")
        return []
    return [path for path in found if path.name.endswith(".yaml") and path.name[0] != "."]


def _merge(root: Node | None, problems: Problems, values: _Values) -> None:
    if root is None:
        return
    top = {f.name: f for f in fields(Config)}
    for key, node in (yamlfields.mapping(root, problems, "", top) or {}).items():
        if key not in SECTIONS:
            _read(top[key], node, problems, key, values.setdefault("", {}))
            continue
        known = {f.name: f for f in fields(SECTIONS[key])}
        for name, child in (yamlfields.mapping(node, problems, key, known) or {}).items():
            _read(known[name], child, problems, f"{key}.{name}", values.setdefault(key, {}))


def _read(
    spec: Field[Any], node: Node, problems: Problems, where: str, into: dict[str, Any]
) -> None:
    value = spec.metadata["read"](node, problems, where)
    if value is not None:
        into[spec.name] = value


def _build(values: _Values) -> Config:
    sections = {name: kind(**values.get(name, {})) for name, kind in SECTIONS.items()}
    return Config(**values.get("", {}), **sections)
