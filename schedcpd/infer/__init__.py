# SPDX-License-Identifier: Apache-2.0
"""Decides what a workload wants: rules always, the agent when one is configured."""
