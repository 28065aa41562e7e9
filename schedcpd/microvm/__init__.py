# SPDX-License-Identifier: Apache-2.0
"""Boots a stock Debian kernel under QEMU, snapshots and resumes it."""
