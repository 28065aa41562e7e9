# SPDX-License-Identifier: Apache-2.0
"""The virtual clock: guests whose time passes by their own instructions, and repeats bit by bit.

`machine.run` starts one guest and returns what it wrote; `plugin/vclock.c` says how the clock
works, docs/vclock.md what it can and cannot measure.
"""
