# SPDX-License-Identifier: Apache-2.0
"""Turns kernel events into signals and workload profiles."""
