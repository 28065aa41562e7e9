# SPDX-License-Identifier: Apache-2.0
"""The part of `verify` that runs inside the micro-VM. Standard library and `schedcpd.host` only."""
