# SPDX-License-Identifier: Apache-2.0
"""How numbers are written, the same in the table and on the page."""

from __future__ import annotations

import math
import re

_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b")
INFINITE = "∞"


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, no exponent unless it is far off; `None` is infinite."""
    if value is None or math.isinf(value):
        return INFINITE
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -4 <= size < 9:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{max(0, digits - 1 - size)}f}".replace(",", "\u2009")
    return text


def quantity(value: float | None, unit: str) -> str:
    """A measured value with its unit; an em dash where there is none."""
    return "—" if value is None else f"{number(value)} {unit}".strip()


def ratio(value: float | None) -> str:
    return INFINITE if value is None else f"{value:.3f}" if value < 9.9995 else number(value)


def interval(low: float, high: float | None) -> str:
    """`[0.981, 1.032]`; says so where nothing bounds it."""
    if low == 0 and high is None:
        return "unbounded"
    return f"[{ratio(low)}, {ratio(high)}]"


def p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def short(text: str) -> str:
    """The text with every hash cut to twelve digits."""
    return _HASH.sub(r"\1", text)
