# SPDX-License-Identifier: Apache-2.0
"""policy: what the repository remembers, who may be chosen, and how policies are found."""

from __future__ import annotations

import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedcpd.errors import SchedcpError
from schedcpd.model import (
    AppKind,
    Conditions,
    IntentClass,
    Machine,
    OutcomeKind,
    Policy,
    PolicyAction,
    Power,
    Shape,
    Standing,
    Trial,
)
from schedcpd.policy import library as module
from schedcpd.policy.library import Library
from schedcpd.policy.search import Question, search, words_of
from schedcpd.policy.similarity import distance, missed, nearest
from schedcpd.policy.standing import barred, standing

LATENCY, INTERACTIVE, NORMAL, BATCH, BACKGROUND = IntentClass
HERE = Machine(4)


@dataclass
class Clock:
    unix: float = 1000.0

    def monotonic_ns(self) -> int:
        return 0

    def unix_s(self) -> float:
        self.unix += 1.0
        return self.unix


def policy(name: str, *intents: IntentClass, slice_us: int = 1000, author: str = "") -> Policy:
    return Policy(
        name,
        f"The policy {name}.",
        "toy",
        MappingProxyType({"slice_us": slice_us}),
        intents or (LATENCY,),
        intents or (LATENCY,),
        Conditions(),
        50,
        MappingProxyType({LATENCY: 5000.0}),
        "shipped",
        f"/p/{name}.yaml",
        3,
        author=author,
    )


NGINX = Shape("nginx", "nginx", AppKind.SERVICE, LATENCY, 5, 100, 2.0)
MAKE = Shape("build", "make", AppKind.SERVICE, BATCH, 40, 100, 60.0)


def trial(name: str, kind: OutcomeKind, *shapes: Shape, missed: tuple[str, ...] = ()) -> Trial:
    return Trial(
        policy=name,
        sha256="aa",
        scheduler="toy",
        kind=kind,
        reason="why",
        at_unix_s=5.0,
        seconds=60.5,
        kernel="7.3.4",
        machine=Machine(4, Power.BATTERY),
        measures={"latency_delay_p99_us": 900.5},
        missed=missed,
        workloads=shapes,
    )


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Library]:
    made = Library(tmp_path / "state" / "policies.sqlite", Clock())
    assert made.open() == ""
    yield made
    made.close()


def stock(books: Library, *policies: Policy) -> None:
    books.take_stock(policies, {p.name: words_of(p, None) for p in policies})


def told(books: Library, name: str = "") -> list[tuple[str, PolicyAction]]:
    return [(event.policy, event.action) for event in reversed(books.events(name, 100))]


def test_what_comes_and_goes_is_recorded_once(books: Library) -> None:
    one, two = policy("one"), policy("two")
    stock(books, one, two)
    stock(books, one, two)
    stock(books, replace(one, description="other words", file="/q.yaml"), two)
    assert told(books) == [("one", PolicyAction.ADDED), ("two", PolicyAction.ADDED)]
    stock(books, policy("one", slice_us=2000))
    stock(books, policy("one", slice_us=2000), two)
    assert told(books)[2:] == [
        ("two", PolicyAction.REMOVED),
        ("one", PolicyAction.CHANGED),
        ("two", PolicyAction.ADDED),
    ]
    (first, *_) = books.events("two", 1)
    assert (first.actor, first.reason, first.sha256) == ("shipped", "/p/two.yaml:3", two.content_id)


def test_a_restart_forgets_nothing(books: Library) -> None:
    stock(books, policy("one"))
    books.decide("one", PolicyAction.RETIRED, "aa", "uid 0", "slow")
    books.add_trial(trial("one", OutcomeKind.EJECTED, NGINX, MAKE))
    books.close()
    again = Library(books._file.path, Clock())
    assert again.open() == ""
    assert told(again) == [("one", PolicyAction.ADDED), ("one", PolicyAction.RETIRED)]
    assert again.decisions()["one"].actor == "uid 0"
    (kept,) = again.trials("one", 5)
    assert replace(kept, id=0) == trial("one", OutcomeKind.EJECTED, NGINX, MAKE)
    assert again.find_words("policy") != {}
    again.close()


@pytest.mark.parametrize("author", ["", "agent"])
def test_standing(books: Library, author: str) -> None:
    mine = policy("mine", author=author)
    assert standing(mine, None) is (Standing.TRIAL if author else Standing.IN_FORCE)
    assert set(barred([mine], {})) == ({"mine"} if author else set())
    books.decide("mine", PolicyAction.PROMOTED, mine.content_id, "uid 0", "looked at it")
    assert standing(mine, books.decisions()["mine"]) is Standing.PROMOTED
    assert barred([mine], books.decisions()) == {}
    # a promotion is for one content; a retirement for the name
    other = policy("mine", slice_us=7, author=author)
    assert standing(other, books.decisions()["mine"]) is (
        Standing.TRIAL if author else Standing.IN_FORCE
    )
    books.decide("mine", PolicyAction.RETIRED, mine.content_id, "uid 0", "too\nslow")
    for each in (mine, other):
        assert standing(each, books.decisions()["mine"]) is Standing.RETIRED
    assert barred([mine], books.decisions()) == {
        "mine": "was retired by uid 0: too\\nslow",
    }


def test_a_decision_is_recorded_or_refused(books: Library) -> None:
    db = books._file.connection
    assert db is not None
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(SchedcpError, match="could not be written") as caught:
        books.decide("one", PolicyAction.RETIRED, "aa", "x" * 50_000, "")
    assert "nothing was recorded" in caught.value.hint
    assert books.decisions() == {}
    books.close()
    with pytest.raises(SchedcpError):
        books.add_trial(trial("one", OutcomeKind.REPLACED))


def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / "p.sqlite").write_bytes(b"no database" * 500)
    books = Library(tmp_path / "p.sqlite", Clock())
    assert "promotions and retirements included, begins anew" in books.open()
    stock(books, policy("one"))
    assert told(books) == [("one", PolicyAction.ADDED)]
    books.close()


def test_old_events_and_trials_go_but_no_decision(
    books: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 5)
    monkeypatch.setattr(module, "MAX_TRIALS", 3)
    stock(books, policy("one"))
    books.decide("one", PolicyAction.RETIRED, "aa", "uid 0", "")
    for number in range(20):
        stock(books, policy("one"), policy("two", slice_us=number))
        books.add_trial(trial(f"t{number}", OutcomeKind.REPLACED))
    assert [each.policy for each in list(books.every_trial())] == ["t19", "t18", "t17"]
    assert books.decisions()["one"].action is PolicyAction.RETIRED
    before = len(books.events("", 100))
    stock(books, policy("one"), policy("two", slice_us=19))
    assert len(books.events("", 100)) == before <= 8  # nothing counts as new after forgetting


def test_words(books: Library) -> None:
    build = replace(policy("bulk", BATCH), description="Long slices for compilers and builds.")
    stock(books, build, policy("server"))
    assert list(books.find_words("compiler")) == ["bulk"]  # stems
    assert list(books.find_words("serv")) == ["server"]  # beginnings
    assert set(books.find_words("policy nothing")) == {"server"}  # any word when not all
    for odd in ('"', "*", "a OR", "NEAR(", "text:x", "-", "'; DROP TABLE words; --", "", "ä" * 999):
        assert isinstance(books.find_words(odd), dict)


@given(text=st.text(max_size=60))
def test_any_words_can_be_asked_for(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    books = Library(tmp_path_factory.mktemp("w") / "p.sqlite", Clock())
    assert books.open() == ""
    stock(books, policy("one"))
    books.find_words(text)
    assert books.trouble == ""
    books.close()


_shapes = st.builds(
    Shape,
    name=st.just("n"),
    executable=st.sampled_from(["", "nginx", "make"]),
    kind=st.sampled_from(AppKind),
    intent=st.sampled_from(IntentClass),
    processes=st.integers(0, 10**6),
    weight=st.integers(1, 10_000),
    pressure=st.floats(0, 100),
)


@given(one=_shapes, other=_shapes)
def test_distance_is_a_share_and_the_same_both_ways(one: Shape, other: Shape) -> None:
    assert 0.0 <= distance(one, other) <= 1.0
    assert distance(one, other) == pytest.approx(distance(other, one))
    assert distance(one, one) == pytest.approx(0.0 if one.executable else 4 / 11)
    found = nearest(one, [other, one])
    assert found is not None and found[0] <= distance(one, other)


def test_alike_is_what_a_person_would_say() -> None:
    more = replace(NGINX, name="other", processes=9, pressure=10.0)
    apache = replace(NGINX, executable="apache2")
    assert distance(NGINX, more) < distance(NGINX, apache) < distance(NGINX, MAKE)


def test_search_by_what_did_well_for_the_nearest_workloads() -> None:
    good, bad, unknown = policy("good"), policy("bad"), policy("unknown")
    broke = policy("broke")
    trials = [
        trial("good", OutcomeKind.REPLACED, MAKE, NGINX),
        trial("bad", OutcomeKind.ROLLED_BACK, NGINX),
        trial("broke", OutcomeKind.REPLACED, NGINX, missed=("latency waited",)),
        trial("unknown", OutcomeKind.REPLACED, MAKE),  # nothing like nginx ran
        trial("gone", OutcomeKind.REPLACED, NGINX),
    ]
    asked = Question(HERE, desktop=False, shape=replace(NGINX, name="shop"))
    found = search([good, bad, unknown, broke], trials, asked)
    assert [each.policy.name for each in found] == ["good", "unknown", "bad", "broke"]
    assert found[0].score == pytest.approx(1.0) and found[0].neighbours[0].shape == NGINX
    assert (found[1].score, found[1].neighbours) == (0.0, ())
    assert found[2].score == found[3].score == pytest.approx(-1.0)


def test_search_filters_by_intent_words_and_machine() -> None:
    laptop = replace(policy("laptop"), conditions=Conditions(power=Power.BATTERY))
    bulk = policy("bulk", BATCH)
    every = (laptop, bulk)

    def names(**asked: object) -> list[str]:
        question = Question(HERE, False, **asked)  # type: ignore[arg-type]
        return [found.policy.name for found in search(every, [], question)]

    assert names() == ["bulk", "laptop"]  # what fits comes first
    assert names(here=True) == ["bulk"]
    assert names(intent=LATENCY) == ["laptop"]
    assert names(words={"laptop": 2.0, "bulk": 1.0}) == ["laptop", "bulk"]
    assert names(words={}) == []
    (first,) = search([laptop], [], Question(HERE, False))
    assert first.unfit == "is for battery power, the machine is on ac"


def test_broken_promises_are_sentences() -> None:
    assert missed(policy("one"), {"latency_delay_p99_us": 5000.0, "batch_delay_p99_us": 9e9}) == ()
    assert missed(policy("one"), {}) == ()
    assert missed(policy("one"), {"latency_delay_p99_us": 5001.0}) == (
        "latency waited 5001 us (p99), promised 5000",
    )


def test_threads_may_share_it(books: Library) -> None:
    def work(number: int) -> None:
        for _ in range(10):
            books.add_trial(trial(f"p{number}", OutcomeKind.REPLACED, NGINX))
            books.trials(f"p{number}", 5)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(books.every_trial())) == 40
    assert books.trouble == ""


def test_this_python_has_full_text_search() -> None:
    sqlite3.connect(":memory:").execute("CREATE VIRTUAL TABLE t USING fts5 (a)")


def test_a_search_over_everything_stays_small(books: Library) -> None:
    """The bounds of the store bound the daemon: 1000 trials of 32 workloads each."""
    shapes = tuple(replace(NGINX, processes=n + 1) for n in range(32))
    rows = [trial(f"p{n % 9}", OutcomeKind.REPLACED, *shapes) for n in range(module.MAX_TRIALS)]
    for row in rows:
        books.add_trial(row)
    policies = [policy(f"p{n}") for n in range(9)]
    asked = Question(HERE, False, shape=replace(NGINX, processes=3))
    tracemalloc.start()
    found = search(policies, books.every_trial(), asked)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(len(each.neighbours) for each in found) == 20
    assert peak < 4 << 20, peak
