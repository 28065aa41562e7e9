# SPDX-License-Identifier: Apache-2.0
"""The only door to the machine: subprocesses, /proc, /sys, cgroupfs, clock, libbpf."""
