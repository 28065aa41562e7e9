# SPDX-License-Identifier: Apache-2.0
"""Samples in, comparisons and the seed's score out. docs/schedbench/statistics.md."""
