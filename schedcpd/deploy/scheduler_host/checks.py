# SPDX-License-Identifier: Apache-2.0
"""What must hold before the scheduler host loads an object or runs a program."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from schedcpd.deploy.scheduler_host import params
from schedcpd.deploy.scheduler_host.loading import read_object
from schedcpd.deploy.token import SCOPE_HOST, SCOPE_PROGRAM, program_values
from schedcpd.errors import (
    ConfigErrors,
    ForeignSchedulerError,
    InvalidArgumentError,
    UnsupportedError,
)
from schedcpd.host.external import ExternalScheduler
from schedcpd.host.manifest import Manifest, check_tunables, load_manifest
from schedcpd.host.program_file import ProgramFinder
from schedcpd.host.scheduler import Scheduler
from schedcpd.host.scx import Scx
from schedcpd.host.scx_programs import PROGRAMS
from schedcpd.model import KernelBuild, ScxState, Tunable

Held = Scheduler | ExternalScheduler


class TokenVerifier(Protocol):
    """`schedcpd.deploy.token.TokenVerifier`. TokenError unless this very load was allowed."""

    def check(
        self,
        token: str,
        *,
        sha256: str,
        tunables: Mapping[str, Tunable],
        kernel: KernelBuild,
        scope: str = SCOPE_HOST,
    ) -> None: ...


class Checks:
    """Each method raises why not. `held` is what the host runs now."""

    def __init__(
        self,
        scx: Scx,
        kernel: KernelBuild,
        open_verifier: Callable[[], TokenVerifier],
        finder: ProgramFinder,
    ) -> None:
        self._scx, self._kernel = scx, kernel
        self._open_verifier, self._finder = open_verifier, finder

    def load(
        self, request: params.LoadRequest, held: Held | None
    ) -> tuple[bytes, Manifest, dict[str, Tunable]]:
        """The object's bytes, its manifest and every tunable, when the token is for just these."""
        if sentence := self._scx.unsupported():
            raise UnsupportedError(sentence)
        self._refuse_foreign(held)
        data = read_object(Path(request.object))
        digest = hashlib.sha256(data).hexdigest()
        if digest != request.sha256:
            raise InvalidArgumentError(
                f"object: {request.object} has SHA-256 {digest[:12]}…, not {request.sha256[:12]}…",
                hint="the file changed since it was verified: verify it again",
            )
        manifest, problems = load_manifest(
            Path(request.object).with_name(f"{request.scheduler}.manifest.yaml")
        )
        if manifest is None:
            raise ConfigErrors(problems)
        tunables = check_tunables(manifest, request.tunables)
        self._open_verifier().check(
            request.token, sha256=digest, tunables=request.tunables, kernel=self._kernel
        )
        return data, manifest, tunables

    def program(self, request: params.RunRequest, held: Held | None) -> ExternalScheduler:
        """The open program, not started yet, when the token is for just its bytes and mode."""
        if sentence := self._scx.unsupported():
            raise UnsupportedError(sentence)
        self._refuse_foreign(held)
        file = self._finder.open(request.program)
        try:
            digest = file.sha256()
            if digest != request.sha256:
                raise InvalidArgumentError(
                    f"sha256: {file.path} has {digest[:12]}…, not {request.sha256[:12]}…",
                    hint="it was installed anew: reload schedcpd",
                )
            self._open_verifier().check(
                request.token,
                sha256=digest,
                tunables=program_values(request.program, request.mode),
                kernel=self._kernel,
                scope=SCOPE_PROGRAM,
            )
        except BaseException:
            file.close()
            raise
        return ExternalScheduler(file, PROGRAMS[request.program], request.mode)

    def _refuse_foreign(self, held: Held | None) -> None:
        now = self._scx.snapshot()
        if now.state in (ScxState.DISABLED, ScxState.DISABLING):
            return
        ours = held.ops_name if held is not None else None
        if now.ops != ours:
            raise ForeignSchedulerError(
                f"sched_ext scheduler {now.ops or '(unknown)'!r} is loaded and is not ours",
                hint="stop the program that loaded it; schedcp never evicts one",
            )
