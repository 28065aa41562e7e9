# SPDX-License-Identifier: Apache-2.0
"""Constants of a BPF object: what fits into which, and what is refused by name."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import InvalidArgumentError
from schedcpd.host.btf import Number

_sizes = st.sampled_from([1, 2, 4, 8])


@given(_sizes, st.booleans(), st.integers(-(2**70), 2**70))
def test_whole_numbers_fit_exactly_or_are_refused(size: int, signed: bool, value: int) -> None:
    number = Number("slice_us", 0, size, "int", signed)
    low, high = (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1)) if signed else (0, 2 ** (8 * size))
    if low <= value < high:
        packed = number.pack(value)
        assert len(packed) == size
        assert number.unpack(packed) == value
    else:
        with pytest.raises(InvalidArgumentError, match="slice_us"):
            number.pack(value)


@given(st.sampled_from([4, 8]), st.floats(allow_nan=False, width=32))
def test_floats_round_trip(size: int, value: float) -> None:
    number = Number("ratio", 0, size, "float")
    back = number.unpack(number.pack(value))
    assert math.isclose(float(back), value, rel_tol=1e-6) or back == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int", True), ("int", 1.0), ("int", "1"), ("bool", 1), ("bool", "yes"), ("float", True)],
)
def test_no_value_is_converted_to_fit(kind: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"not of type {kind}"):
        Number("x", 0, 8 if kind == "float" else 1, kind).pack(value)  # type: ignore[arg-type]


@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_a_constant_is_read_at_its_place(offset: int, value: int) -> None:
    number = Number("x", offset, 4, "int")
    section = b"\xff" * offset + number.pack(value) + b"\xff" * 7
    assert number.unpack(section) == value


def test_bool_is_one_byte() -> None:
    number = Number("on", 3, 1, "bool")
    assert number.pack(True) == b"\x01"
    assert number.unpack(b"\0\0\0\x01") is True
