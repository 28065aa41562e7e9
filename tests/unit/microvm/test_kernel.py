# SPDX-License-Identifier: Apache-2.0
"""Which kernel is meant by a series."""

from schedcpd.microvm.kernel import newest_of_series


def test_the_newest_release_of_each_series_in_order_of_age() -> None:
    names = [
        "linux-image-7.1.13+deb13-cloud-amd64",
        "linux-image-7.1.8+deb13-cloud-amd64",
        "linux-image-6.19.14+deb13-cloud-amd64",
        "linux-image-7.2.6+deb13-cloud-amd64-dbg",
        "linux-image-7.2.6+deb13-amd64",
        "linux-image-cloud-amd64",
    ]
    assert list(newest_of_series(names).items()) == [
        ("6.19", "6.19.14+deb13-cloud-amd64"),
        ("7.1", "7.1.13+deb13-cloud-amd64"),
    ]
