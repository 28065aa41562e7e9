# SPDX-License-Identifier: Apache-2.0
"""What is put into the guest for one sample."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from schedbench import guestfiles, workload
from schedbench.arms.base import ArmScript
from schedbench.guest import image
from schedbench.guestfiles import TOP, cgroup_name, drivers_of, guest_files
from schedbench.model import SizeClass, Workload
from schedcpd.errors import InvalidArgumentError
from schedcpd.microvm.image import PACKAGES, Extra, image_key

MIXED = workload.load("mixed")
PROGRAMS = {name: name.encode() for name in drivers_of(MIXED)}


def files_for(
    seed: int = 1, arm: ArmScript | None = None, one: Workload = MIXED
) -> dict[str, bytes]:
    return guest_files(one, SizeClass.SMOKE, seed, arm or ArmScript(), PROGRAMS)


def test_scripts_drivers_and_harness_are_there() -> None:
    files = files_for(arm=ArmScript(start="begin\n", stop="end\n"))
    assert files[f"{TOP}/run"].decode() == MIXED.run
    assert files[f"{TOP}/check"].decode() == MIXED.check
    assert (files[f"{TOP}/arm-start"], files[f"{TOP}/arm-stop"]) == (b"begin\n", b"end\n")
    assert files[guestfiles.HARNESS].startswith(b"#!/bin/sh")
    assert files[f"{TOP}/bin/mark"] == b"mark" and files[f"{TOP}/bin/spin"] == b"spin"
    assert all(path.startswith("/") for path in files)


def test_the_environment_survives_the_shell() -> None:
    size = replace(MIXED.sizes[SizeClass.SMOKE], env={"TEXT": "a b'c $HOME `x`\\"})
    odd = replace(MIXED, sizes={SizeClass.SMOKE: size})
    env = files_for(7, one=odd)[f"{TOP}/env"].decode()
    done = subprocess.run(
        ["/bin/sh", "-c", env + 'printf "%s|%s|%s" "$TEXT" "$SEED" "$REPEATS"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"a b'c $HOME `x`\\|7|{size.repeats}"


def test_names_of_cgroups_follow_the_seed_and_say_nothing() -> None:
    names = {cgroup_name(seed, part.name) for seed in range(20) for part in MIXED.parts}
    assert len(names) == 20 * len(MIXED.parts)
    assert not any(part.name in name for name in names for part in MIXED.parts)
    lines = files_for(3)[f"{TOP}/parts"].decode().splitlines()
    assert [line.split()[0] for line in lines] == [part.name for part in MIXED.parts]
    assert lines != files_for(4)[f"{TOP}/parts"].decode().splitlines()
    assert lines == files_for(3)[f"{TOP}/parts"].decode().splitlines()


def test_an_arm_is_not_told_intents_by_the_files() -> None:
    files = files_for()
    del files[f"{TOP}/run"], files[f"{TOP}/setup"], files[f"{TOP}/check"]
    texts = b"".join(data for path, data in files.items() if "/bin/" not in path)
    for part in MIXED.parts:
        assert f" {part.intent}".encode() not in texts or part.intent == part.name


def test_an_arm_brings_files_but_not_into_the_harness(tmp_path: Path) -> None:
    local = tmp_path / "x.bpf.o"
    local.write_bytes(b"object")
    assert (
        files_for(arm=ArmScript(files={"/run/arm/x.bpf.o": local}))["/run/arm/x.bpf.o"] == b"object"
    )
    for path in (f"{TOP}/run", "relative"):
        with pytest.raises(InvalidArgumentError, match="outside"):
            files_for(arm=ArmScript(files={path: local}))


def test_a_missing_driver_and_a_negative_seed_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="mark"):
        guest_files(MIXED, SizeClass.SMOKE, 1, ArmScript(), {})
    with pytest.raises(InvalidArgumentError, match="seed"):
        files_for(-1)


def test_the_tree_on_disk_is_executable(tmp_path: Path) -> None:
    files = files_for()
    guestfiles.write_tree(files, tmp_path)
    for path, data in files.items():
        target = tmp_path / path.lstrip("/")
        assert target.read_bytes() == data and os.access(target, os.X_OK)


def test_the_image_has_every_workload_s_packages_and_another_key() -> None:
    extra = image.extra()
    for one in workload.load_all().values():
        assert set(one.packages) <= set(extra.wanted)
    assert set(PACKAGES) < set(extra.wanted)
    assert image_key(extra) != image_key()


def test_the_order_of_extra_packages_does_not_matter() -> None:
    assert image_key(Extra(("a", "b"))) == image_key(Extra(("b", "a", "b")))
    assert image_key(Extra(("a",))) != image_key(Extra(("b",)))
    assert image_key(Extra((PACKAGES[0],))) == image_key()
    assert image_key(Extra(disabled=("x.service",))) != image_key()
