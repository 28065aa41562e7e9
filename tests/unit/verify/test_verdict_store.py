# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schedcpd.errors import VerifyError
from schedcpd.model import Verdict, VerdictOrigin
from schedcpd.verify.store import VerdictStore
from schedcpd.verify.verdict import file_name, verdict_to_json

from .verdict_samples import KERNEL, OTHER_KERNEL, SHA, verdict


@pytest.fixture
def store(tmp_path: Path) -> VerdictStore:
    (tmp_path / "shipped").mkdir()
    return VerdictStore(tmp_path / "shipped", tmp_path / "local")


def ship(tmp_path: Path, made: Verdict) -> Path:
    path = tmp_path / "shipped" / file_name(made.scheduler, SHA, made.kernel.build_id)
    path.write_text(verdict_to_json(made))
    path.chmod(0o644)
    return path


def test_a_saved_verdict_is_found(store: VerdictStore, tmp_path: Path) -> None:
    path = store.save(verdict())
    assert path.name == f"toy.{SHA[:12]}.{'ab' * 6}.json"
    assert store.find("toy", SHA, KERNEL) == verdict()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_local_one_wins(store: VerdictStore, tmp_path: Path) -> None:
    ship(tmp_path, verdict(origin=VerdictOrigin.SHIPPED))
    store.save(verdict("behaviour"))
    found = store.find("toy", SHA, KERNEL)
    assert found is not None
    assert not found.passed


@pytest.mark.parametrize(
    ("scheduler", "sha", "kernel"),
    [
        ("other", SHA, KERNEL),
        ("toy", SHA[:12] + "0" * 52, KERNEL),  # the same file name, other bytes
        ("toy", SHA, OTHER_KERNEL),
        ("toy", SHA, replace(KERNEL, build_id=KERNEL.build_id[:12] + "0" * 28)),
        ("toy", SHA, replace(KERNEL, release="7.3.5")),
    ],
)
def test_nothing_but_the_exact_one_is_found(
    store: VerdictStore, scheduler: str, sha: str, kernel: object
) -> None:
    store.save(verdict())
    assert store.find(scheduler, sha, kernel) is None  # type: ignore[arg-type]


def test_any_kernel_lists_local_ones_first(store: VerdictStore, tmp_path: Path) -> None:
    ship(tmp_path, verdict(origin=VerdictOrigin.SHIPPED))
    store.save(verdict(kernel=OTHER_KERNEL))
    found = store.find_any_kernel("toy", SHA)
    assert [v.origin for v in found] == [VerdictOrigin.LOCAL, VerdictOrigin.SHIPPED]
    assert store.find_any_kernel("toy", "0" * 64) == ()


def test_a_file_that_others_may_write_is_an_error(store: VerdictStore, tmp_path: Path) -> None:
    ship(tmp_path, verdict()).chmod(0o664)
    with pytest.raises(VerifyError, match="others than root"):
        store.find("toy", SHA, KERNEL)


def test_a_broken_file_is_an_error_that_names_it(store: VerdictStore, tmp_path: Path) -> None:
    path = ship(tmp_path, verdict())
    path.write_text(path.read_text().replace('"passed": true', '"passed": false'))
    with pytest.raises(VerifyError, match=path.name):
        store.find("toy", SHA, KERNEL)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VerifyError, match="Cannot write"):
        VerdictStore(tmp_path, tmp_path / "file" / "local").save(verdict())
