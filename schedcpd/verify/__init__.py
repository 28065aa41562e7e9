# SPDX-License-Identifier: Apache-2.0
"""Proves a candidate before it may reach the host."""
