from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.experiments.trainings import Training, share_of, trainings_of


def test_trainings_go_seed_by_seed() -> None:
    assert [each.name for each in trainings_of(2)] == ["seed0-plain", "seed0-se", "seed1-plain", "seed1-se"]
    with pytest.raises(SenetError, match=r"seeds must be .*chance\), not 0\."):
        trainings_of(0)


@given(seeds=st.integers(1, 12), data=st.data())
def test_jobs_share_everything_evenly_and_no_job_gets_one_network_only(
    seeds: int, data: st.DataObject
) -> None:
    trainings = trainings_of(seeds)
    jobs = data.draw(st.integers(1, len(trainings)))
    shares = [share_of(f"{number}/{jobs}", trainings) for number in range(1, jobs + 1)]
    assert sorted(each for share in shares for each in share) == sorted(trainings)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    for share in shares:
        plain = sum(training.variant == "plain" for training in share)
        assert abs(2 * plain - len(share)) <= 1


def test_a_job_for_each_training_trains_that_one() -> None:
    trainings = trainings_of(3)
    assert [share_of(f"{number}/6", trainings) for number in range(1, 7)] == [(each,) for each in trainings]


@pytest.mark.parametrize("job", ["0/2", "3/2", "2", "1/0", "a/b", "1/2/3", "-1/2", "1/2 ", ""])
def test_what_is_no_job_is_refused(job: str) -> None:
    with pytest.raises(SenetError, match="must be K/N with K from 1 to N"):
        share_of(job, trainings_of(3))


def test_more_jobs_than_trainings_are_refused() -> None:
    with pytest.raises(SenetError, match=r"job must be K/N with N at most 6, .*, not 7/7"):
        share_of("7/7", trainings_of(3))


def test_identities_differ_by_training_and_share_the_checksum() -> None:
    plain, se = (Training(1, variant).identity({"model": "x"}) for variant in ("plain", "se"))
    assert plain["checksum"] == se["checksum"] and plain != se
    assert plain["checksum"] != Training(1, "plain").identity({"model": "y"})["checksum"]
