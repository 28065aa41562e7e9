# SPDX-License-Identifier: Apache-2.0
"""globs: what matches, and that nothing takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.host.globs import complaint, literals, name_matches, path_matches


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/", "/", True),
        ("/**", "/", True),
        ("/**", "/a/b/c", True),
        ("/*", "/a", True),
        ("/*", "/a/b", False),
        ("/*.mount", "/x.mount", True),
        ("/*.mount", "/system.slice/x.mount", False),
        ("/**/*.mount", "/system.slice/x.mount", True),
        ("/**/*.mount", "/x.mount", True),
        ("/user.slice/**", "/user.slice", True),
        ("/user.slice/**", "/user.slice/a/b", True),
        ("/user.slice/**/app-*.scope", "/user.slice/a/b/app-x.scope", True),
        ("/user.slice/**/app-*.scope", "/user.slice/a/b/app-x.scope/c", False),
        ("/**/a/**/b", "/a/x/a/y/b", True),
        ("/A", "/a", False),
    ],
)
def test_path_globs(glob: str, path: str, matches: bool) -> None:
    assert (path_matches([glob], path) == glob) is matches


def test_name_globs() -> None:
    assert name_matches(["gcc", "cc1*"], "cc1plus") == "cc1*"
    assert name_matches(["gcc"], "GCC") is None
    assert name_matches(["*"], "") is None


def test_literals_and_complaints() -> None:
    assert [literals(g) for g in ("*", "a*b?", "[abc]d", "make")] == [0, 2, 1, 4]
    assert complaint("user.slice", path=True)
    assert complaint("/a**", path=True)
    assert complaint("")
    assert not complaint("/a/**/b*", path=True)


def test_hostile_globs_and_names_take_no_time() -> None:
    start = time.monotonic()
    assert name_matches(["*a" * 100 + "b"], "a" * 4096) is None
    assert path_matches(["/**/*a*a*a*" * 20 + "/b"], "/aaaaaaaa" * 450) is None
    assert time.monotonic() - start < 2


@given(st.text(alphabet="ab/*?[]!-", max_size=30), st.text(alphabet="ab/", max_size=30))
def test_any_glob_on_any_path_ends(glob: str, path: str) -> None:
    path_matches([glob], path)
    name_matches([glob], path)
