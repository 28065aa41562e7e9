# SPDX-License-Identifier: Apache-2.0
"""The table of external schedulers, and which file of such a name is trusted."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from schedcpd.errors import NotFoundError, UnsupportedError
from schedcpd.host.program_file import ProgramFinder, Programs
from schedcpd.host.scx_programs import MODES, PROGRAMS

NAME = "scx_rusty"


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A directory that holds an ELF program of that name."""
    directory = tmp_path / "bin"
    directory.mkdir()
    shutil.copy(os.path.realpath("/bin/sh"), directory / NAME)
    (directory / NAME).chmod(0o755)
    return directory


def finder(directory: Path) -> ProgramFinder:
    return ProgramFinder((directory,), os.getuid())


def test_the_table_names_ops_as_the_kernel_shows_them() -> None:
    bpfland = PROGRAMS["scx_bpfland"]
    assert bpfland.is_ops("bpfland")
    assert bpfland.is_ops("bpfland_1.1.4_x86_64_unknown_linux_gnu")
    assert not bpfland.is_ops("bpflandish")
    assert not bpfland.is_ops("lavd_1.1.4")
    assert not bpfland.is_ops("")


def test_every_program_has_fixed_arguments_for_the_modes_of_scx_loader() -> None:
    for name, program in PROGRAMS.items():
        assert name == program.name
        assert set(program.modes) <= set(MODES)
        assert "auto" in program.modes
    assert PROGRAMS["scx_bpfland"].modes["gaming"] == ("-m", "all")
    assert PROGRAMS["scx_cosmos"].modes["auto"] == ()
    (layers,) = PROGRAMS["scx_layered"].modes["auto"]
    assert layers.startswith('[{"name":"background"')


def test_the_first_program_of_that_name_is_found_and_hashed(bin_dir: Path) -> None:
    empty = bin_dir.parent / "empty"
    empty.mkdir()
    finder = ProgramFinder((bin_dir.parent / "absent", empty, bin_dir), os.getuid())
    found = Programs(allowed=True, finder=finder).find(NAME)
    expected = subprocess.run(["sha256sum", (bin_dir / NAME)], stdout=subprocess.PIPE, check=True)
    assert found.path == str(bin_dir / NAME)
    assert found.sha256 == expected.stdout.decode().split()[0]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o775), "may be changed by others"),
        (lambda path: path.chmod(0o757), "may be changed by others"),
        (lambda path: path.chmod(0o644), "is not an executable"),
        (lambda path: path.write_text("#!/bin/sh\nexit 0\n"), "is not an ELF program"),
        (lambda path: os.truncate(path, 1 << 30), "is not an ELF program of at most"),
        (lambda path: path.parent.chmod(0o777), "where others than root may put files"),
        (lambda path: path.rename(path.with_name("x")).symlink_to, ""),
    ],
)
def test_what_others_could_have_written_is_not_run(bin_dir: Path, spoil: object, why: str) -> None:
    spoil(bin_dir / NAME)  # type: ignore[operator]
    if not why:
        (bin_dir / NAME).symlink_to(bin_dir / "x")
        why = "is a link"
    with pytest.raises(UnsupportedError, match=why):
        finder(bin_dir).open(NAME)


def test_a_directory_or_pipe_of_that_name_is_not_run(bin_dir: Path) -> None:
    (bin_dir / NAME).unlink()
    os.mkfifo((bin_dir / NAME), 0o755)
    with pytest.raises(UnsupportedError, match="is not an executable file"):
        finder(bin_dir).open(NAME)
    (bin_dir / NAME).unlink()
    (bin_dir / NAME).mkdir()
    with pytest.raises(UnsupportedError, match="is not an executable file"):
        finder(bin_dir).open(NAME)


def test_another_owner_is_not_trusted(bin_dir: Path) -> None:
    with pytest.raises(UnsupportedError, match="others than root"):
        ProgramFinder((bin_dir,), os.getuid() + 1).open(NAME)


def test_what_is_not_there_or_not_known_says_so(bin_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="scx_lavd is not installed") as error:
        finder(bin_dir).open("scx_lavd")
    assert str(bin_dir) in str(error.value)
    with pytest.raises(UnsupportedError, match="not an external scheduler"):
        finder(bin_dir).open("../bin/sh")


def test_nothing_is_run_that_the_administrator_did_not_allow(bin_dir: Path) -> None:
    with pytest.raises(UnsupportedError, match="switched off") as error:
        Programs(allowed=False, finder=finder(bin_dir)).find(NAME)
    assert "external.enabled" in error.value.hint
