# SPDX-License-Identifier: Apache-2.0
"""The command line. Imports nothing of D-Bus, so that --help is quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from schedcpd import __version__
from schedcpd.model import IntentClass, RecordKind, VerdictClock

BUS_VARIABLE = "SCHEDCTL_BUS_ADDRESS"
STATE_DIR = "/var/lib/schedcp"
MAX_RECORDS = 1000
TARGET = "systemd unit, cgroup path, application or process id"
EPILOG = """exit codes: 0 done, 1 refused or failed, 2 usage, 3 daemon unreachable,
4 not authorised, 5 unsupported kernel. More in schedctl(1)."""


def _count(value: str) -> int:
    number = int(value) if value.isascii() and value.isdigit() else 0
    if not 1 <= number <= MAX_RECORDS:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 1 to {MAX_RECORDS}")
    return number


def _common() -> argparse.ArgumentParser:
    """Options that may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument(
        "--no-ask-password", action="store_true", help="never ask for a password; fail instead"
    )
    common.add_argument(
        "--bus-address",
        metavar="ADDRESS",
        help=f"D-Bus address instead of the system bus (also ${BUS_VARIABLE})",
    )
    return common


def _adder(
    parser: argparse.ArgumentParser, dest: str, common: argparse.ArgumentParser
) -> Callable[[str, str], argparse.ArgumentParser]:
    """A function that adds one command with its summary."""
    commands = parser.add_subparsers(dest=dest, metavar="COMMAND", required=True)

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[common],
            allow_abbrev=False,
        )

    return add


def build_parser() -> argparse.ArgumentParser:
    common = _common()
    parser = argparse.ArgumentParser(
        prog="schedctl",
        description="Shows and steers schedcp, which chooses the CPU scheduler of this machine.",
        epilog=EPILOG,
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"schedctl {__version__}")
    add = _adder(parser, "command", common)

    def with_target(command: argparse.ArgumentParser, **options: str) -> None:
        command.add_argument("target", metavar="TARGET", help=TARGET, **options)  # type: ignore[arg-type]

    def with_reason(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--reason", default="", metavar="TEXT", help="why, for the history (512 characters)"
        )

    def with_state_dir(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--state-dir",
            default=STATE_DIR,
            metavar="DIR",
            help=f"where schedcpd keeps its state, if not {STATE_DIR}",
        )

    add("status", "show which scheduler runs, and why")
    listing = add("list", "show the workloads and what each wants")
    listing.add_argument("-a", "--all", action="store_true", help="also those without processes")

    pin = add("pin", "hold a workload and everything below it to an intent")
    with_target(pin)
    pin.add_argument(
        "intent",
        metavar="INTENT",
        choices=[each.value for each in IntentClass],
        help=", ".join(IntentClass),
    )
    with_target(add("unpin", "end a pin"))

    apply = add("apply", "deploy a policy")
    apply.add_argument(
        "policy", metavar="POLICY", help="a name from `schedctl policies`, kernel-default or auto"
    )
    with_reason(add("rollback", "go back to the policy that was good before"))
    kill = add("kill", "return to the kernel's own scheduler now and stay there until resume")
    with_reason(kill)
    with_state_dir(kill)
    with_state_dir(add("resume", "release the kill switch"))

    explain = add("explain", "show why a workload is scheduled as it is")
    with_target(explain, nargs="?", default="")
    add("watch", "show changes as they happen, until Ctrl-C")
    log = add("log", "show the history of decisions, deployments and outcomes, newest first")
    log.add_argument(
        "-n", "--limit", metavar="N", type=_count, default=50, help="how many (default 50)"
    )
    log.add_argument(
        "--kind",
        metavar="KIND",
        choices=[each.value for each in RecordKind],
        default="",
        help="only this kind: " + ", ".join(RecordKind),
    )
    log.add_argument(
        "--subject", metavar="SUBJECT", default="", help="only this cgroup path or deployment id"
    )
    add("policies", "show the policies that could be applied")
    _add_policy(add("policy", "look into the repository of policies"), common)
    add("reload", "make the daemon read configuration and policies again")
    _add_verify(
        add("verify", "prove a scheduler or check policies, offline and without the daemon")
    )
    add("mcp", "serve these tools over the Model Context Protocol on standard input and output")
    return parser


def _add_policy(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    add = _adder(command, "policy_command", common)
    add("list", "show the policies that could be applied")
    add("show", "show everything about one policy").add_argument(
        "name", metavar="NAME", help="of the policy"
    )
    add("lint", "say everything that is wrong in policy files, without the daemon").add_argument(
        "files", metavar="FILE", nargs="+", help="read as if it were in force beside the others"
    )
    diff = add("diff", "show in what two policies differ, the schedulers' defaults included")
    for side in ("a", "b"):
        diff.add_argument(side, metavar=side.upper(), help="a policy, or FILE.yaml[:NAME]")
    limit = {"metavar": "N", "type": _count, "help": "how many (default 50)", "default": 50}
    search = add("search", "find policies by words, intent, machine and how they did, best first")
    search.add_argument("words", metavar="WORD", nargs="*", help="of their descriptions")
    search.add_argument(
        "--intent",
        metavar="INTENT",
        choices=[each.value for each in IntentClass],
        default="",
        help="that serve " + ", ".join(IntentClass),
    )
    search.add_argument(
        "--workload",
        metavar="TARGET",
        default="",
        help="that did well for workloads like this one come first",
    )
    search.add_argument(
        "--here", action="store_true", help="only those for this machine as it is now"
    )
    search.add_argument("-n", "--limit", **limit)  # type: ignore[arg-type]
    history = add("history", "show what happened to policies and how they did, newest first")
    history.add_argument("name", metavar="NAME", nargs="?", default="", help="only this policy")
    history.add_argument("-n", "--limit", **limit)  # type: ignore[arg-type]
    for name, summary in (
        ("promote", "let a policy be chosen by itself while its content stays the same"),
        ("retire", "keep a policy from being chosen by itself until it is promoted"),
    ):
        change = add(name, summary)
        change.add_argument("name", metavar="NAME", help="of the policy")
        change.add_argument(
            "--reason", default="", metavar="TEXT", help="why, for the history (512 characters)"
        )


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", metavar="FILE", help="NAME.bpf.c, NAME.bpf.o or POLICY.yaml")
    command.add_argument("-a", "--all", action="store_true", help="also after a check failed")
    command.add_argument(
        "--daemon", action="store_true", help="have schedcpd do it (NAME.bpf.c or NAME.yaml)"
    )
    command.add_argument("--no-vm", action="store_true", help="only what needs no micro-VM")
    command.add_argument(
        "--manifest", metavar="FILE", default="", help="tunables; default: the one beside FILE"
    )
    command.add_argument(
        "--tunables", metavar="JSON", default="", help="values other than the manifest's defaults"
    )
    command.add_argument(
        "-I",
        "--include",
        metavar="DIR",
        action="append",
        default=[],
        help="more headers that a source may include",
    )
    command.add_argument(
        "--cpus", metavar="N", default="", help="check policies for a machine of N CPUs"
    )
    command.add_argument(
        "--release", metavar="RELEASE", default="", help="kernel to prove it on, if not the newest"
    )
    command.add_argument(
        "--clock",
        choices=["auto", *VerdictClock],
        default="",
        help="of the micro-VM: the host's (wall), the guest's own instructions (virtual), "
        "or virtual where it can be had (auto, the default)",
    )


def normalise_target(target: str) -> str:
    """TARGET as the daemon takes it: a path below the cgroup2 mount loses the mount point."""
    mount = "/sys/fs/cgroup"
    if target == mount or target.startswith(mount + "/"):
        target = target[len(mount) :] or "/"
    if len(target) > 1 and target.startswith("/"):
        target = target.rstrip("/") or "/"
    return target
