# SPDX-License-Identifier: Apache-2.0
"""What a user is told of a kernel that lacks something."""

from schedcpd.host.scheduler import losses


def test_a_missing_op_is_told_by_what_is_lost() -> None:
    said = losses(["cgroup_set_bandwidth", "sub_attach"])
    assert said == ("cpu.max of cgroups is not kept", "it has no sub_attach")


def test_a_kernel_that_has_all_loses_nothing() -> None:
    assert losses([]) == ()
