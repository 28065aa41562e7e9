# SPDX-License-Identifier: Apache-2.0
"""Results for people: a table on the terminal, and one HTML page that needs nothing else."""
