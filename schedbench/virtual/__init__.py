# SPDX-License-Identifier: Apache-2.0
"""Workloads under the virtual clock: what the guest carries, one sample, the proof.

`sample.take_sample` takes one; `prove.prove` shows that it repeats byte for byte; docs/vclock.md
says what the clock can and cannot measure.
"""
