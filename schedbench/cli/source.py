# SPDX-License-Identifier: Apache-2.0
"""What `score`, `compare` and `report` read: run folders and bundles, which look alike inside."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from schedbench.evaluate.data import Data, merge, read
from schedbench.records import RunFolder

MERGING = "several are put together as one run; unlike ones are refused by what differs"


def add_runs(parser: argparse.ArgumentParser, extra: str = MERGING) -> None:
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help=f"run folder or bundle; {extra}"
    )
    parser.add_argument(
        "--baseline",
        default="",
        metavar="ARM",
        help="what arms are held against (default: default)",
    )


def merged(paths: Sequence[Path]) -> Data:
    """Raises RecordError, BenchError, or UnlikeError."""
    return merge([read(RunFolder(path)) for path in paths])
