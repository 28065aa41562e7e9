# SPDX-License-Identifier: Apache-2.0
"""A scheduler's C source: read by clang in a sandbox, looked at by rules, compiled in a sandbox."""
