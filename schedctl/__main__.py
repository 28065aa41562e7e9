# SPDX-License-Identifier: Apache-2.0
"""`schedctl`: parses the command line, runs the command, turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from schedcpd.errors import SchedcpError
from schedctl.exits import Exit, exit_of
from schedctl.parser import BUS_VARIABLE, build_parser
from schedctl.text import Output, complain


def main(argv: Sequence[str] | None = None) -> int:
    """Returns an exit code of `schedctl.exits.Exit`."""
    options = build_parser().parse_args(argv)
    for name, default in (
        ("json", False),
        ("no_ask_password", False),
        ("bus_address", os.environ.get(BUS_VARIABLE) or None),
    ):
        if name not in options:
            setattr(options, name, default)
    try:
        if options.command == "verify":
            from schedctl.verify import run as verify

            return verify(options)
        if options.command == "policy" and options.policy_command == "lint":
            from schedctl.policy_files import lint

            return lint(options)
        if options.command == "mcp":
            from schedctl.mcp_server import serve

            serve(options.bus_address)
        else:
            from schedctl.commands import run

            run(options, Output(sys.stdout, json_wanted=options.json))
        sys.stdout.flush()
    except SchedcpError as error:
        complain(error.message, error.hint, as_json=options.json, code=error.code)
        return exit_of(error)
    except KeyboardInterrupt:
        return Exit.DONE if options.command in ("watch", "mcp") else Exit.REFUSED
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
