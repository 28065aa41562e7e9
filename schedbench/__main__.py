# SPDX-License-Identifier: Apache-2.0
"""`schedbench`: parses the command line, runs the command, turns errors into exit codes."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from schedbench.cli import (
    Exit,
    Output,
    compare,
    crosscheck,
    doctor,
    prove,
    report,
    run,
    score,
    verify,
)
from schedbench.cli import list as list_
from schedcpd.errors import SchedcpError

COMMANDS = (list_, run, score, compare, verify, report, doctor, prove, crosscheck)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="schedbench",
        description="Measures what CPU schedulers, and agents that choose them, are worth.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Returns an exit code of `schedbench.cli.Exit`."""
    options = build_parser().parse_args(argv)
    output = Output(sys.stdout, as_json=options.json)
    try:
        return int(asyncio.run(options.handler(options, output)))
    except SchedcpError as error:
        output.error(error)
        return Exit.REFUSED
    except KeyboardInterrupt:
        return Exit.REFUSED
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
