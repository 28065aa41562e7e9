# SPDX-License-Identifier: Apache-2.0
"""schedcp-verify.service: examines and proves what the daemon hands in, without any privilege."""
