# SPDX-License-Identifier: Apache-2.0
"""Turns intents and the repository into a candidate deployment."""
