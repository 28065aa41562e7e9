# SPDX-License-Identifier: Apache-2.0
"""What a scheduler's source may not do; one rule a file. `checks/source.py` runs them in order.

A rule looks at a `Program` and yields a Finding for each thing wrong, with the line as evidence. It
speaks where clang's tree makes it sure or nearly so. What it cannot see is left to the kernel's
verifier and to the run under load.
"""
