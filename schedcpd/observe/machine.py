# SPDX-License-Identifier: Apache-2.0
"""What kind of machine this is at this moment: processors and power.

Power: /sys/class/power_supply (kernel Documentation/ABI/testing/sysfs-class-power).
"""

from __future__ import annotations

import os
from pathlib import Path

from schedcpd.host.cgroupfs import read_small
from schedcpd.model import Machine, Power


class MachineReader:
    """Reads below `root`, which is "/" outside tests."""

    def __init__(self, root: Path | str = "/") -> None:
        self._supplies = Path(root, "sys/class/power_supply")

    def read(self) -> Machine:
        """Now."""
        return Machine(cpus=os.cpu_count() or 1, power=self.power())

    def power(self) -> Power:
        """BATTERY only when a battery of the system discharges and no mains supply is online."""
        try:
            supplies = sorted(self._supplies.iterdir())
        except OSError:
            return Power.AC
        discharging = False
        for supply in supplies:
            kind = (read_small(f"{supply}/type") or "").strip()
            if kind == "Battery":
                # "Device" is the battery of a mouse or a headset.
                if (read_small(f"{supply}/scope") or "").strip() != "Device":
                    status = (read_small(f"{supply}/status") or "").strip()
                    discharging = discharging or status == "Discharging"
            elif (read_small(f"{supply}/online") or "").strip() == "1":
                return Power.AC
        return Power.BATTERY if discharging else Power.AC
