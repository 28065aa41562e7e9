# SPDX-License-Identifier: Apache-2.0
"""The runner: takes a plan's samples, one fresh boot each, and writes every one down at once.

`session.py` goes through the plan, `wall.py` takes a sample under the host's clock, `virtual.py`
under the guest's own; `observations.py` reads what the guest's machine said of itself, and
`environment.py` what a result is bound to.
"""
