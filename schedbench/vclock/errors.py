# SPDX-License-Identifier: Apache-2.0
"""How a run under the virtual clock can fail."""

from __future__ import annotations

from schedcpd.errors import SchedcpError


class VClockError(SchedcpError):
    """The clock is not to be had here, or a guest under it did not end as it should."""

    code = "VClock"
