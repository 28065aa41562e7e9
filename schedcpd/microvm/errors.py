# SPDX-License-Identifier: Apache-2.0
"""How a micro-VM can fail while it is used. All are MicroVmError."""

from __future__ import annotations

from schedcpd.errors import MicroVmError


class VmGoneError(MicroVmError):
    """The VM ended under a command. Carries what the command had printed and the console's end."""

    code = "VmGone"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        stdout: bytes = b"",
        stderr: bytes = b"",
        console: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.stdout, self.stderr, self.console = stdout, stderr, console


class VmFrozenError(VmGoneError):
    """The guest answered no more within its time; the VM was killed."""

    code = "VmFrozen"


class VmTimeLimitError(VmGoneError):
    """The VM's own wall-clock limit passed; the VM was killed."""

    code = "VmTimeLimit"


class VmDiedError(VmGoneError):
    """QEMU ended by itself: a guest panic (nothing reboots), a power-off, or a fault of QEMU."""

    code = "VmDied"
