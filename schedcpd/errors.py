# SPDX-License-Identifier: Apache-2.0
"""One tree of errors; each has a stable code, a sentence, and a hint that names the fix."""

from __future__ import annotations

from collections.abc import Sequence


class SchedcpError(Exception):
    """Base of every error this project raises on purpose.

    `code` is stable and is what D-Bus error names and JSON output carry;
    `hint` says what the reader can do about it ("" when nothing can be done).
    """

    code = "Failed"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(SchedcpError):
    """A configuration or policy file is wrong. Carries file, line and field where known."""

    code = "InvalidConfig"

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        field: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.file, self.line, self.field = file, line, field

    def __str__(self) -> str:
        where = (
            f"{self.file}:{self.line}: " if self.line else (f"{self.file}: " if self.file else "")
        )
        field = f"{self.field}: " if self.field else ""
        return f"{where}{field}{super().__str__()}"


class ConfigErrors(ConfigError):
    """Everything wrong with a set of files, at once. Stands at the first problem's place."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        super().__init__(
            first.message, file=first.file, line=first.line, field=first.field, hint=first.hint
        )
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class InvalidArgumentError(SchedcpError):
    """A caller passed a value that is not one of those allowed."""

    code = "InvalidArgument"


class NotFoundError(SchedcpError):
    """Nothing answers to the name the caller gave."""

    code = "NotFound"


class AmbiguousTargetError(SchedcpError):
    """A target names more than one workload."""

    code = "Ambiguous"


class AuthorizationError(SchedcpError):
    """polkit said no, or could not be asked. Nothing was changed."""

    code = "AccessDenied"


class BusyError(SchedcpError):
    """Another change is being made; this one was not started."""

    code = "Busy"


class UnsupportedError(SchedcpError):
    """This kernel or machine cannot do it (no sched_ext, no BTF, cgroup v1)."""

    code = "Unsupported"


class ForeignSchedulerError(SchedcpError):
    """A sched_ext scheduler that is not ours is loaded; it is never evicted."""

    code = "ForeignScheduler"


class KilledError(SchedcpError):
    """The kill switch is latched; nothing is deployed until it is released."""

    code = "Killed"


class VerifyError(SchedcpError):
    """A candidate did not pass, or has no verdict for these bytes and this kernel."""

    code = "NotVerified"


class TokenError(SchedcpError):
    """A deployment token is missing, forged, expired, replayed or for other bytes."""

    code = "BadToken"

    def __init__(self, message: str, *, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason  # a TokenReason of schedcpd/deploy/token.py


class SchedulerHostError(SchedcpError):
    """The scheduler host refused, failed or could not be reached."""

    code = "SchedulerHost"


class AgentError(SchedcpError):
    """sched-agent is absent, over its budget, late, or answered nonsense."""

    code = "Agent"


class MicroVmError(SchedcpError):
    """The micro-VM could not be built, booted or reached."""

    code = "MicroVm"
