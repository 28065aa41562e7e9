# SPDX-License-Identifier: Apache-2.0
"""Where sources are compiled, and with which flags."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from schedcpd.errors import UnsupportedError
from schedcpd.verify.source.sandbox import Sandbox
from schedcpd.verify.source.toolchain import NEEDED, Toolchain, find_root, missing

TOP = Path(__file__).parents[3]


def complete(root: Path, helpers: str = "#define bpf_for(i, start, end) x\n") -> Path:
    for file in NEEDED.values():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(helpers)
    return root


def test_the_first_complete_tree_is_taken(tmp_path: Path) -> None:
    for name in ("empty", "old", "good", "other"):
        (tmp_path / name).mkdir()
    complete(tmp_path / "old", "nothing of iterators\n")
    complete(tmp_path / "good")
    complete(tmp_path / "other")
    order = [tmp_path / name for name in ("empty", "old", "good", "other")]
    assert find_root(order) == tmp_path / "good"
    assert set(missing(tmp_path / "empty")) == set(NEEDED)
    assert [word.split()[0] for word in missing(tmp_path / "old")] == ["libbpf-dev"]


@pytest.mark.parametrize("trees", [0, 1])
def test_without_one_the_packages_are_named(tmp_path: Path, trees: int) -> None:
    with pytest.raises(UnsupportedError) as caught:
        find_root([tmp_path] * trees)
    for package in NEEDED:
        assert package in caught.value.hint


def test_a_source_means_the_same_as_in_the_build() -> None:
    """The flags of bpf/Makefile, but for warnings, debug paths and include directories."""
    text = (TOP / "bpf/Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(each for each in text.splitlines() if each.startswith("CFLAGS :="))
    built = shlex.split(line.removeprefix("CFLAGS :=").replace("$(", "").replace(")", ""))
    skip = ("-W", "-I", "-f", "-idirafter", "-D", "dir", "VMLINUX_H")
    meant = [flag for flag in built if not flag.startswith(skip)] + ["-fms-extensions"]
    ours = Toolchain(Sandbox(Path("/")), Path("vmlinux.h"), ()).flags
    assert set(meant) <= set(ours)
    assert any(flag.startswith("-D__TARGET_ARCH_") for flag in ours)


def test_headers_are_seen_in_the_order_given(tmp_path: Path) -> None:
    tools = Toolchain(Sandbox(Path("/")), tmp_path / "v.h", (tmp_path / "a", tmp_path / "b"))
    assert tools.read["/include/0"] == tmp_path / "a"
    assert tools.read["/include/1"] == tmp_path / "b"
    assert tools.flags.index("-I/include/0") < tools.flags.index("-I/include/1")
    assert tools.read["/include/kernel/vmlinux.h"] == tmp_path / "v.h"
