# SPDX-License-Identifier: Apache-2.0
"""Remembers every decision, deployment and outcome."""
