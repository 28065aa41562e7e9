# SPDX-License-Identifier: Apache-2.0
"""For all tests. A busy machine is no failure, so hypothesis judges results and not time."""

import signal

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("schedcp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("schedcp")

# Where the tests run in a shell's background, Ctrl-C is ignored, and would be in what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Why a test is run once more, which the report at the end does not say."""
    if report.outcome == "rerun":  # type: ignore[comparison-overlap]  # of pytest-rerunfailures
        print(f"\n{report.nodeid} failed and is run once more:\n{report.longreprtext[-3000:]}")
