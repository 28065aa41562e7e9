# SPDX-License-Identifier: Apache-2.0
"""Pins on disk: cgroup path -> class, one JSON object, replaced atomically."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from schedcpd.errors import SchedcpError
from schedcpd.host.files import set_aside, write_atomically
from schedcpd.model import IntentClass

MAX_PINS = 10_000


class PinStore:
    """Loads once, saves every change. Without a usable file it begins empty and `note` says why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note = ""

    def load(self) -> dict[str, IntentClass]:
        try:
            data = json.loads(self.path.read_bytes())
            if not isinstance(data, dict):
                raise ValueError("expected an object")
            return {str(cgroup): IntentClass(name) for cgroup, name in data.items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.note = f"pins in {self.path} cannot be read: {error.strerror}"
        except ValueError as error:
            with contextlib.suppress(OSError):
                set_aside(self.path, "corrupt")
            self.note = f"{self.path} was damaged ({error}) and set aside; pins are gone"
        return {}

    def save(self, pins: Mapping[str, IntentClass]) -> None:
        """SchedcpError when the disk refuses; the file is then what it was."""
        if len(pins) > MAX_PINS:
            raise SchedcpError(f"more than {MAX_PINS} pins", hint="unpin some")
        data = json.dumps({cgroup: intent.value for cgroup, intent in pins.items()}, indent=1)
        try:
            write_atomically(self.path, data.encode() + b"\n")
        except OSError as error:
            raise SchedcpError(
                f"cannot write {self.path}: {error.strerror}",
                hint="free space or mend the file system; the pin was not made",
            ) from error
