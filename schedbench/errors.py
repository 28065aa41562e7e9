# SPDX-License-Identifier: Apache-2.0
"""What schedbench refuses, in the project's tree of errors."""

from __future__ import annotations

from schedcpd.errors import SchedcpError


class BenchError(SchedcpError):
    """The benchmark cannot do what it was asked."""

    code = "Bench"


class RecordError(BenchError):
    """A record of a run or a sample is not what this version writes."""

    code = "Record"


class UnlikeError(BenchError):
    """Two runs differ in something that must be equal for their results to be put together."""

    code = "Unlike"
