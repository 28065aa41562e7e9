# SPDX-License-Identifier: Apache-2.0
"""Which kernel is meant by a series."""

import os
from pathlib import Path

import pytest

from schedcpd.microvm.kernel import newest_of_series, series_kernel


def test_the_newest_release_of_each_series_in_order_of_age() -> None:
    names = [
        "linux-image-7.1.13+deb13-cloud-amd64",
        "linux-image-7.1.8+deb13-cloud-amd64",
        "linux-image-6.19.14+deb13-cloud-amd64",
        "linux-image-7.2.6+deb13-cloud-amd64-dbg",
        "linux-image-7.2.6+deb13-amd64",
        "linux-image-cloud-amd64",
        *(f"linux-{part}-7.1.12+deb13-cloud-amd64" for part in ("image", "binary", "modules")),
        *(f"linux-{part}-7.1.14+deb13-cloud-amd64" for part in ("image", "binary")),
    ]
    assert list(newest_of_series(names).items()) == [
        ("6.19", "6.19.14+deb13-cloud-amd64"),
        ("7.1", "7.1.13+deb13-cloud-amd64"),
    ]


async def test_of_several_kernels_of_a_series_the_last_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDCP_CACHE", str(tmp_path))
    for age, name in enumerate(("6.12.117-own-b", "6.12.117-own-a", "6.120.1")):
        folder = tmp_path / "kernel-series" / name
        modules = folder / "usr/lib/modules" / name
        modules.mkdir(parents=True)
        (modules / "modules.builtin").touch()
        os.utime(folder, (1000 - age, 1000 - age))
    found = await series_kernel("6.12", lambda text: None)
    assert found.release == "6.12.117-own-b"
    assert found.vmlinuz.parent == found.modules
    os.utime(tmp_path / "kernel-series/6.12.117-own-a", (2000, 2000))
    assert (await series_kernel("6.12", lambda text: None)).release == "6.12.117-own-a"
