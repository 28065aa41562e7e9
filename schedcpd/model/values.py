# SPDX-License-Identifier: Apache-2.0
"""The one spelling of JSON, and what a tunable may be."""

from __future__ import annotations

import json

Tunable = int | float | bool | str


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value that hashes and signatures are made over.

    Keys sorted, no blanks, UTF-8; `1`, `1.0` and `true` stay different. ValueError for
    NaN and infinities, TypeError for what JSON cannot say.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
