# SPDX-License-Identifier: Apache-2.0
"""The process that holds the struct_ops link of one scheduler (docs/contracts.md).

It is separate from the daemon so that neither's crash ejects or orphans a scheduler: while this
process lives the scheduler runs, and when it ends, however it ends, the kernel returns every
task to its default.
"""
