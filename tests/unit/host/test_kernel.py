# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import UnsupportedError
from schedcpd.host.kernel import build_id_of_notes, read_kernel_build


def note(name: bytes, kind: int, description: bytes) -> bytes:
    pad = lambda data: data + b"\0" * (-len(data) % 4)  # noqa: E731
    return struct.pack("=III", len(name), len(description), kind) + pad(name) + pad(description)


ID = bytes(range(20))


def test_the_build_id_is_found_among_other_notes() -> None:
    notes = note(b"Linux\0", 0x101, b"\1\0\0\0") + note(b"GNU\0", 3, ID) + note(b"Xen\0", 6, b"x")
    assert build_id_of_notes(notes) == ID.hex()


def test_other_notes_of_the_same_type_are_not_taken() -> None:
    with pytest.raises(UnsupportedError, match="no GNU build id"):
        build_id_of_notes(note(b"Xen\0", 3, ID) + note(b"GNU\0", 1, ID))


@given(cut=st.integers(0, 35))
def test_notes_cut_short_are_refused(cut: int) -> None:
    with pytest.raises(UnsupportedError):
        build_id_of_notes(note(b"GNU\0", 3, ID)[:cut])


@given(st.binary(max_size=200))
def test_any_bytes_give_an_id_or_a_clear_error(notes: bytes) -> None:
    try:
        assert build_id_of_notes(notes)
    except UnsupportedError as error:
        assert error.hint


def test_it_reads_another_root(tmp_path: Path) -> None:
    kernel = tmp_path / "proc/sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "osrelease").write_text("7.3.4+deb13-cloud-amd64\n")
    with pytest.raises(UnsupportedError, match="version"):
        read_kernel_build(tmp_path)
    (kernel / "version").write_text("#1 SMP Debian 7.3.4-1\n")
    with pytest.raises(UnsupportedError, match="notes"):
        read_kernel_build(tmp_path)
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/notes").write_bytes(note(b"GNU\0", 3, ID))
    build = read_kernel_build(tmp_path)
    assert (build.release, build.version) == ("7.3.4+deb13-cloud-amd64", "#1 SMP Debian 7.3.4-1")
    assert build.build_id == ID.hex()
