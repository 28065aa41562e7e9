# SPDX-License-Identifier: Apache-2.0
"""sched-agent: the unprivileged process that talks to a model."""
