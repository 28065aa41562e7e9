# SPDX-License-Identifier: Apache-2.0
"""Cutting a stream into messages, whatever the pieces it comes in."""

from __future__ import annotations

import itertools

import pytest
from dbus_next import Message
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.host.dbus import Framer, decode

LIMIT = 1024


def message(serial: int, size: int) -> bytes:
    made = Message(
        destination="a.b",
        path="/a",
        interface="a.b",
        member="M",
        signature="s",
        body=["x" * size],
        serial=serial,
    )
    return bytes(made._marshall())


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=12),
    st.lists(st.integers(0, 100_000), max_size=20),
)
def test_any_cut_of_the_stream_gives_the_same_messages(sizes: list[int], cuts: list[int]) -> None:
    raw = [message(number, size) for number, size in enumerate(sizes, start=1)]
    framer = Framer(LIMIT)
    found = []
    for piece in pieces(b"".join(raw), cuts):
        framer.feed(piece)
        while (frame := framer.next()) is not None:
            found.append(frame)
    assert len(found) == len(raw)
    for number, (size, (frame, dropped)) in enumerate(zip(sizes, found, strict=True), start=1):
        assert dropped is (len(raw[number - 1]) > LIMIT)
        decoded = decode(frame)
        assert decoded.serial == number
        assert decoded.member == "M"
        assert decoded.body == ([] if dropped else ["x" * size])


@given(st.binary(min_size=16, max_size=400))
def test_garbage_ends_or_waits_but_never_runs_away(data: bytes) -> None:
    framer = Framer(LIMIT)
    framer.feed(data)
    try:
        for _ in range(100):
            if framer.next() is None:
                return
    except ValueError:
        return
    raise AssertionError("100 messages in 400 bytes")


def test_a_huge_message_is_never_held() -> None:
    framer = Framer(LIMIT)
    raw = message(1, 5_000_000)
    for piece in range(0, len(raw), 65536):
        framer.feed(raw[piece : piece + 65536])
        framer.next()
        assert len(framer._buffer) <= 65536 + LIMIT
    framer.feed(message(2, 3))
    frame = framer.next()
    assert frame is not None and decode(frame[0]).serial == 2


def test_header_larger_than_the_limit_is_dropped_whole() -> None:
    long_path = Message(path="/" + "a" * 3000, member="M", interface="a.b", serial=7)._marshall()
    framer = Framer(LIMIT)
    framer.feed(bytes(long_path) + message(8, 1))
    frame = framer.next()
    assert frame is not None and decode(frame[0]).serial == 8


def test_not_dbus() -> None:
    framer = Framer(LIMIT)
    framer.feed(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ValueError, match="not a D-Bus message"):
        framer.next()
