# SPDX-License-Identifier: Apache-2.0
"""Arms: what runs beside a workload."""
