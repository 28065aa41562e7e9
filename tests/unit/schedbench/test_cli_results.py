# SPDX-License-Identifier: Apache-2.0
"""score, compare, verify and report as they are typed."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from schedbench.bundle.signature import NAMESPACE
from schedbench.cli import Exit, Output, compare, report, score, verify
from schedbench.errors import BenchError, UnlikeError
from schedbench.model import Clock

from .synthetic import noisy, record, write


@pytest.fixture(autouse=True)
def _fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedbench.evaluate.score.ROUNDS", 200)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    of = record(2, ("default", "fast", "noop"))
    return write(tmp_path / "run", of, noisy(1, fast=0.7), lambda s: s).path


async def typed(*words: object) -> tuple[Exit, str]:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for module in (score, compare, verify, report):
        module.add(commands)
    options = parser.parse_args([str(word) for word in words])
    stream = io.StringIO()
    code = await options.handler(options, Output(stream, as_json=options.json))
    return code, stream.getvalue()


async def as_json(*words: object) -> Any:
    code, text = await typed(*words, "--json")
    assert code is Exit.DONE
    return json.loads(text)


async def test_score(run: Path) -> None:
    code, text = await typed("score", run)
    assert code is Exit.DONE
    assert "fast" in text and "win" in text
    found = await as_json("score", run)
    assert [one["arm"] for one in found["scores"]] == ["fast", "noop"]
    assert found["scores"][0]["score"] == pytest.approx(1 / 0.7, rel=0.05)
    other = await as_json("score", run, "--baseline", "fast")
    assert other["scores"][0]["terms"][0]["improvement"] == pytest.approx(0.7, rel=0.05)
    assert other["scores"][0]["score"] == 0  # the others break its hard SLOs


async def test_compare(run: Path) -> None:
    found = await as_json("compare", run, "--arm", "noop")
    assert {row["arm"] for row in found["comparisons"]} == {"noop"}
    assert len(found["comparisons"]) == 4
    _, text = await typed("compare", run)
    assert "fast" in text and "noop" in text
    with pytest.raises(BenchError, match="nothing to compare"):
        await typed("compare", run, "--arm", "default")
    with pytest.raises(BenchError, match="no arm nobody"):
        await typed("compare", run, "--arm", "nobody")


async def test_unlike_runs_are_not_put_together(run: Path, tmp_path: Path) -> None:
    of = record(2, clock=Clock.VIRTUAL)
    other = write(tmp_path / "other", of, noisy(2), lambda s: s).path
    for words in (("score",), ("compare",), ("report", "--merge", "--html", tmp_path / "x.html")):
        with pytest.raises(UnlikeError, match=r"environment\.clock, boot differ"):
            await typed(*words, run, other)
    found = await as_json("report", run, other, "--html", tmp_path / "y.html")
    assert len(found["results"]) == 2


async def test_a_bundle_from_score_to_report(run: Path, tmp_path: Path) -> None:
    key, bundle, signers = tmp_path / "key", tmp_path / "bundle", tmp_path / "signers"
    subprocess.run(  # noqa: ASYNC221
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True
    )
    signers.write_text(f'me namespaces="{NAMESPACE}" {key.with_suffix(".pub").read_text()}')
    _, text = await typed("score", run, "--bundle", bundle, "--key", key)
    assert "signed by ED25519 key SHA256:" in text

    code, text = await typed("verify", bundle, "--allowed-signers", signers)
    assert (code, text.splitlines()[-1]) == (Exit.DONE, "verified")
    code, text = await typed("verify", bundle)
    assert code is Exit.REFUSED
    assert "not be checked here" in text

    sample = bundle / "samples" / "w00.fast.3.json"
    sample.write_bytes(sample.read_bytes().replace(b'"time": ', b'"time":  ', 1))
    code, text = await typed("verify", bundle, "--allowed-signers", signers, "--json")
    found = json.loads(text)
    assert (code, found["verified"]) == (Exit.REFUSED, False)
    failed = [check for check in found["checks"] if check["state"] == "failed"]
    assert [check["name"] for check in failed] == ["files"]
    assert "samples/w00.fast.3.json" in failed[0]["said"][0]

    code, text = await typed("report", bundle, "--html", tmp_path / "page.html")
    assert code is Exit.DONE
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (await as_json("score", bundle))["scores"] == (await as_json("score", run))["scores"]


async def test_what_score_refuses(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--bundle"):
        await typed("score", run, "--key", tmp_path / "key")
    with pytest.raises(BenchError, match="of one run"):
        await typed("score", run, run, "--bundle", tmp_path / "bundle")
    with pytest.raises(BenchError, match="exists"):
        await typed("score", run, "--bundle", run)


async def test_an_unsigned_bundle_is_verified_only_if_that_is_asked_for(
    run: Path, tmp_path: Path
) -> None:
    await typed("score", run, "--bundle", tmp_path / "bundle")
    assert (await typed("verify", tmp_path / "bundle"))[0] is Exit.REFUSED
    assert (await typed("verify", tmp_path / "bundle", "--unsigned"))[0] is Exit.DONE
