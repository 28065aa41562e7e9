# SPDX-License-Identifier: Apache-2.0
"""For all tests: a busy machine is no failure, so hypothesis judges results and not time."""

from hypothesis import HealthCheck, settings

settings.register_profile("schedcp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("schedcp")
