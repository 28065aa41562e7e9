# SPDX-License-Identifier: Apache-2.0
"""Reading apt's sources, both styles."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import MicroVmError
from schedcpd.microvm.debian import archive, codename, parse_deb822, parse_list, sources

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian http://other.example/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb
URIs: https://vendor.example/apt
Suites: stable
Components: tool
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
"""


def test_deb822() -> None:
    first, second, vendor = parse_deb822(DEB822)
    assert first.uri == "http://mirror.example/debian"
    assert second.uri == "http://other.example/debian"
    assert first.suites == ("trixie", "trixie-updates")
    assert first.components == ("main", "contrib")
    assert first.signed_by.endswith("debian-archive-keyring.gpg")
    assert vendor.signed_by == ""


def test_one_line_style() -> None:
    text = (
        "# deb http://commented.example/debian trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main # note\n"
        "deb-src http://mirror.example/debian trixie main\n"
        "deb http://security.example/debian-security trixie-security main non-free\n"
    )
    main, security = parse_list(text)
    assert (main.uri, main.suites, main.components) == (
        "http://mirror.example/debian", ("trixie",), ("main",),
    )  # fmt: skip
    assert main.signed_by == "/k.gpg"
    assert security.components == ("main", "non-free")


@given(st.text())
def test_any_text_is_parsed_or_passed_over(text: str) -> None:
    for source in [*parse_list(text), *parse_deb822(text)]:
        assert source.uri


def test_archive_is_the_source_of_this_release(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb cdrom:[Debian]/ trixie main\n")
    (parts / "a-vendor.list").write_text("deb https://vendor.example/apt nodistro main\n")
    (parts / "debian.sources").write_text(DEB822)
    (parts / "ignored.txt").write_text("deb http://ignored.example/debian trixie main\n")
    assert archive(tmp_path, "trixie").uri == "http://mirror.example/debian"
    assert not any("ignored" in source.uri for source in sources(tmp_path))
    with pytest.raises(MicroVmError, match="no source"):
        archive(tmp_path, "bookworm")


def test_codename(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    assert codename(file) == "trixie"
