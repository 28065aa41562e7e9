# SPDX-License-Identifier: Apache-2.0
"""schedbench: measures what a CPU scheduler does to workloads, under a wall or a virtual clock."""
