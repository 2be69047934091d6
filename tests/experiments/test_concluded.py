from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from senet.errors import SenetError
from senet.experiments.concluded import CONCLUDED_NAME, Concluded, read_concluded, write_concluded
from tests.report import factory

COST = factory.cost()


def test_looks_are_counted_once_for_each_number_of_seeds_and_epochs() -> None:
    assert Concluded().look(3, 9) == Concluded(looks=(3,), epochs=(9,))
    five = Concluded(looks=(5,), epochs=(9,))
    assert five.look(3, 9).looks == (5, 3), "fewer seeds after more are another look"
    both = five.look(3, 9)
    assert both.look(5, 9) == both, "the same seeds are the same look"
    extended = both.look(5, 12)
    assert (extended.looks, extended.epochs) == ((5, 3, 5), (9, 9, 12)), "more epochs are another look"
    assert extended.looks_until(5, 9) == (5,) and extended.looks_until(5, 12) == (5, 3, 5)
    elsewhere = [Concluded(looks=(2, 3), epochs=(9, 9)), Concluded(looks=(2,), epochs=(12,))]
    assert Concluded(looks=(2,), epochs=(9,)).look(6, 12, elsewhere).looks == (2, 3, 2, 6)


def test_looks_of_an_older_senet_were_had_at_the_epochs_of_now() -> None:
    assert Concluded(looks=(3, 5)).look(3, 9) == Concluded(looks=(3, 5), epochs=(9, 9))


def test_a_cost_is_kept_for_its_device_unless_more_time_is_asked_for() -> None:
    kept = Concluded().with_cost(COST, 4.0)
    assert kept.cost("cpu, 2 threads", 4.0) is kept.cost("cpu, 2 threads", 1.0) is COST
    assert kept.cost("cpu, 2 threads", 8.0) is kept.cost("cuda", 1.0) is None
    longer, other = replace(COST, batch_size=7), replace(COST, device="cuda")
    both = kept.with_cost(other, 1.0).with_cost(longer, 8.0)
    assert both.cost("cpu, 2 threads", 8.0) == longer and both.cost("cuda", 1.0) == other
    assert len(both.costs) == 2


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_concluded(tmp_path) == Concluded()
    written = Concluded(looks=(3, 3), epochs=(5, 9)).with_cost(COST, 4.0)
    write_concluded(tmp_path, written)
    assert read_concluded(tmp_path) == written


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "[" * 99999, "\x00"),
        *(
            '{"looks": ["3"], "costs": []}',
            '{"looks": [3], "costs": [{}]}',
            '{"looks": [3], "epochs": [1, 2]}',
        ),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / CONCLUDED_NAME).write_text(text)
    with pytest.raises(SenetError, match=r"concluded\.json cannot be read .*: delete it"):
        read_concluded(tmp_path)
