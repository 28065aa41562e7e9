# SPDX-License-Identifier: Apache-2.0
"""What the daemon must know after a crash: one small JSON file, replaced atomically.

The file is written before a swap and after it, so that whatever instant the power or the
daemon fails at, the way back is on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from schedcpd.host.files import set_aside, write_atomically
from schedcpd.model import Candidate, CandidateKind, IntentClass, Tunable

VERSION = 1


@dataclass(frozen=True, slots=True)
class Deployment:
    """One scheduler that was, is or shall be attached. `source`: auto, operator, rollback…"""

    id: str
    policy: str
    source: str
    scheduler: str
    object_path: str
    object_sha256: str
    tunables: Mapping[str, Tunable]
    reason: str
    verdict_id: str = ""
    started_unix_s: float = 0.0
    ops_name: str = ""
    enable_seq: int = 0
    host_pid: int = 0
    slo_delay_p99_us: Mapping[str, float] = field(default_factory=dict)  # by class
    promoted: bool = False  # its canary is over
    without: tuple[str, ...] = ()  # what this kernel cannot do for it
    external: bool = False  # `scheduler` is a program, `object_path` where it is
    asked: bool = False  # by an operator; not what the configuration or the pipeline chose

    @property
    def promises(self) -> Mapping[IntentClass, float]:
        return {IntentClass(name): us for name, us in self.slo_delay_p99_us.items()}

    def candidate(self) -> Candidate:
        """The same bytes and tunables again, to be admitted anew."""
        return Candidate(
            kind=CandidateKind.EXTERNAL if self.external else CandidateKind.RECONFIGURE,
            policy=self.policy,
            scheduler=self.scheduler,
            object_path=self.object_path,
            object_sha256=self.object_sha256,
            tunables=dict(self.tunables),
            reason=self.reason,
            slo_delay_p99_us=self.promises,
        )


@dataclass(frozen=True, slots=True)
class Quarantine:
    """What failed on this kernel; not loaded again on it unless an operator says so.

    An object that the kernel threw out is kept by its hash; an object with the tunables under
    which it failed by measures by `variant`, until `until_unix_s`.
    """

    reason: str
    kernel: str  # build id
    at_unix_s: float
    until_unix_s: float = 0.0  # 0: for good


def variant(sha256: str, tunables: Mapping[str, Tunable]) -> str:
    """Names an object with its tunables."""
    values = json.dumps(dict(tunables), sort_keys=True).encode()
    return f"{sha256}+{hashlib.sha256(values).hexdigest()[:16]}"


def within_an_hour(moments: tuple[float, ...], now: float) -> tuple[float, ...]:
    """Seconds since the epoch; those to come were written before the clock was set."""
    return tuple(at for at in moments if now - 3600 < at <= now)


@dataclass(frozen=True, slots=True)
class DeployState:
    """Everything that is remembered. `held`: why nothing is loaded until an operator's word.

    `wanted` is the policy an operator asked for, "" while the configuration decides.
    """

    boot_id: str = ""
    current: Deployment | None = None
    pending: Deployment | None = None
    last_known_good: Deployment | None = None
    wanted: str = ""
    wanted_source: str = ""
    held: str = ""
    quarantine: Mapping[str, Quarantine] = field(default_factory=dict)
    swaps_unix_s: tuple[float, ...] = ()
    setbacks_unix_s: tuple[float, ...] = ()

    def with_swap(self, now: float) -> DeployState:
        """Counts one automatic deployment; forgets those of more than an hour ago."""
        return replace(self, swaps_unix_s=(*within_an_hour(self.swaps_unix_s, now), now))

    def with_word(
        self, policy: str, source: str, sha256: str, tunables: Mapping[str, Tunable]
    ) -> DeployState:
        """Keeps an operator's word, which lifts what held back. Only once it was done: a wish
        that failed must not be tried again by itself.
        """
        lifted = (sha256, variant(sha256, tunables))
        return replace(
            self,
            wanted=policy,
            wanted_source=source,
            held="",
            quarantine={key: why for key, why in self.quarantine.items() if key not in lifted},
        )

    def with_current(self, deployment: Deployment) -> DeployState:
        """The deployment runs; where an operator asked for it, that is kept in the same record."""
        state = replace(self, current=deployment, pending=None)
        if not deployment.asked:
            return state
        return state.with_word(
            deployment.policy, deployment.source, deployment.object_sha256, deployment.tunables
        )

    def with_setback(
        self, key: str, reason: str, kernel: str, now: float, hold_s: float = 0.0
    ) -> DeployState:
        """Without what ran, which goes into quarantine: for `hold_s` seconds, 0 for good."""
        entry = Quarantine(reason, kernel, now, now + hold_s if hold_s else 0.0)
        return replace(
            self,
            current=None,
            last_known_good=None,
            quarantine={**self.quarantine, key: entry},
            setbacks_unix_s=(*within_an_hour(self.setbacks_unix_s, now), now),
        )


class StateStore:
    """Loads and saves DeployState at `path`. Without a usable file it begins anew and says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = ""  # why the last load began anew, "" when it did not

    def load(self) -> DeployState:
        self.note = ""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return DeployState()
        except OSError as error:
            self.note = f"{self.path} cannot be read ({error.strerror}); began without a past"
            return DeployState()
        try:
            return decode(json.loads(data))
        except (ValueError, TypeError, KeyError) as error:
            with contextlib.suppress(OSError):
                set_aside(self.path, "corrupt")
            self.note = f"{self.path} was damaged ({error}) and set aside; began without a past"
            return DeployState()

    def save(self, state: DeployState) -> None:
        """OSError when the disk refuses; the file is then what it was."""
        write_atomically(self.path, json.dumps(encode(state), indent=1).encode() + b"\n")


def encode(state: DeployState) -> dict[str, Any]:
    return {"version": VERSION, **asdict(state)}


def decode(data: object) -> DeployState:
    """ValueError, TypeError or KeyError, naming the field, for anything `encode` does not give."""
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError(f"version: expected {VERSION}")
    values = {key: value for key, value in data.items() if key != "version"}
    _closed(values, DeployState, "")
    for key in ("current", "pending", "last_known_good"):
        if values.get(key) is not None:
            values[key] = _deployment(values[key], key)
    for key in ("boot_id", "held", "wanted", "wanted_source"):
        _expect(values.get(key, ""), str, key)
    found: dict[str, Quarantine] = {}
    for sha, entry in _expect(values.get("quarantine", {}), dict, "quarantine").items():
        _closed(_expect(entry, dict, f"quarantine.{sha}"), Quarantine, f"quarantine.{sha}.")
        found[sha] = Quarantine(**entry)
    values["quarantine"] = found
    for key in ("swaps_unix_s", "setbacks_unix_s"):
        moments = _expect(values.get(key, []), list, key)
        values[key] = tuple(float(at) for at in moments)
    return DeployState(**values)


_TEXTS = ("id", "policy", "source", "scheduler", "object_path", "object_sha256", "reason")


def _deployment(data: object, where: str) -> Deployment:
    values = _expect(data, dict, where)
    _closed(values, Deployment, f"{where}.")
    for key in _TEXTS:
        _expect(values.get(key), str, f"{where}.{key}")
    _expect(values.get("tunables"), dict, f"{where}.tunables")
    for key in ("enable_seq", "host_pid"):
        _expect(values.get(key, 0), int, f"{where}.{key}")
    for key in ("promoted", "external", "asked"):
        _expect(values.get(key, False), bool, f"{where}.{key}")
    without = values.get("without", ())
    if not isinstance(without, list | tuple):
        raise TypeError(f"{where}.without: expected list, found {type(without).__name__}")
    values["without"] = tuple(str(sentence) for sentence in without)
    promises = _expect(values.get("slo_delay_p99_us", {}), dict, f"{where}.slo_delay_p99_us")
    values["slo_delay_p99_us"] = {IntentClass(c).value: float(us) for c, us in promises.items()}
    return Deployment(**values)


def _closed(values: Mapping[str, object], kind: type[Any], where: str) -> None:
    known = {f.name for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}{key}: unknown field")


def _expect(value: object, kind: type[Any], where: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{where}: expected {kind.__name__}, found {type(value).__name__}")
    return value


class KillSwitch:
    """The latch: a file that is there while nothing may be deployed. Anyone with root may make it.

    `engage` holds in memory even where the disk refuses, since stopping must always work.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._memory = ""

    def reason(self) -> str:
        """One sentence while latched, else ""."""
        try:
            text = self.path.read_text("utf-8", "replace")[:1000].strip()
        except FileNotFoundError:
            return self._memory
        except OSError as error:
            return self._memory or f"{self.path} cannot be read ({error.strerror})"
        return self._memory or text or f"{self.path} exists"

    def engage(self, reason: str) -> str:
        """Latches. Returns "" or, when it will not survive a restart, why."""
        self._memory = reason
        try:
            write_atomically(self.path, reason.encode() + b"\n", 0o644)
        except OSError as error:
            return f"the latch is not on disk ({error.strerror}) and ends with the daemon"
        return ""

    def release(self) -> None:
        """OSError when the file cannot be removed: then it stays latched."""
        self.path.unlink(missing_ok=True)
        self._memory = ""
