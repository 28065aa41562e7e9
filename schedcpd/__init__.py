# SPDX-License-Identifier: Apache-2.0
"""schedcpd: chooses a Linux machine's CPU scheduler by what its applications need."""

__version__ = "0.1.0"
