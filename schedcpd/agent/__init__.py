# SPDX-License-Identifier: Apache-2.0
"""sched-agent: a process of its own, without privileges, that asks a language model.

Started by its socket, gone when idle. Nothing of the daemon imports this package, and
litellm is imported by `llm.py` alone, at the first question.
"""
