# SPDX-License-Identifier: Apache-2.0
"""Text that strangers chose (process names, unit names, a model's answer), made safe to show."""

from __future__ import annotations

import unicodedata


def clean(text: str, *, chars: int) -> str:
    """`text` as one line of at most `chars` printable characters.

    Control, format (bidirectional, zero-width), surrogate, private and unassigned characters
    (Unicode categories C*) and every kind of white space become one space; a cut is marked
    with an ellipsis. The work is bounded by `chars`, not by the length of `text`.
    """
    window = text[: 4 * chars]
    words = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in window).split()
    line = " ".join(words)
    if len(line) <= chars and len(window) == len(text):
        return line
    return line[: chars - 1].rstrip() + "…"
