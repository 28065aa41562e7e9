# SPDX-License-Identifier: Apache-2.0
"""Tokens, the scheduler host, last-known-good, rollback and the kill switch."""
