import json
import math
from dataclasses import replace

import pytest

from senet.errors import SenetError
from senet.report.results_json import from_json, read_results, to_json, write_results
from tests.report import factory


@pytest.fixture(scope="module")
def comparison():
    return factory.build(images=100, epochs=3)


@pytest.mark.parametrize("make", [factory.usual, factory.two_classes, factory.many_classes, factory.hostile])
def test_round_trip_is_exact(make, tmp_path):
    comparison, path = make(), tmp_path / "results.json"
    write_results(comparison, path)
    assert read_results(path) == comparison
    assert not list(tmp_path.glob(".*")), "a temporary file was left"


def test_losses_that_are_not_finite_survive_as_valid_json(comparison):
    last = replace(comparison.runs[0].history[-1], train_loss=math.nan, test_loss=-math.inf)
    broken = replace(comparison.runs[0], history=(*comparison.runs[0].history[:-1], last))
    text = to_json(
        replace(
            comparison,
            runs=(broken, *comparison.runs[1:]),
            recipe={"clip": math.inf, "steps": (1, (2, None))},
        )
    )
    json.loads(text, parse_constant=lambda name: pytest.fail(f"bare {name}"))
    again = from_json(text)
    assert math.isnan(again.runs[0].history[-1].train_loss)
    assert again.runs[0].history[-1].test_loss == -math.inf
    assert again.recipe == {"clip": math.inf, "steps": (1, (2, None))}


def test_whole_numbers_are_read_where_numbers_belong(comparison):
    content = json.loads(to_json(comparison))
    content["seconds"] = 12
    assert isinstance(from_json(json.dumps(content)).seconds, float)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_file_cut_short_is_refused(comparison, share):
    text = to_json(comparison)
    with pytest.raises(SenetError, match="not valid JSON"):
        from_json(text[: int(share * len(text))])


def test_a_bare_nan_is_refused(comparison):
    content = json.loads(to_json(comparison))
    content["seconds"] = math.nan
    with pytest.raises(SenetError, match="bare NaN"):
        from_json(json.dumps(content))


def changed(content, where, value):
    """Set the value at the path ``where``; ``...`` removes it."""
    *parents, last = where
    for key in parents:
        content = content[key]
    if value is ...:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (
            ["schema_version"],
            2,
            "have format version 2, but this senet reads version 1: use the senet version named",
        ),
        (["schema_version"], "1", "format version '1'"),
        (["schema_version"], ..., "no 'schema_version'"),
        (["cost", "se", "parameters"], ..., "results.cost.se.parameters is missing"),
        (["cost", "se", "parameters"], 1.5, "must be a whole number"),
        (["cost", "se", "parameters"], True, "must be a whole number"),
        (["seconds"], "soon", "must be a number"),
        (["surprise"], 1, r"results cannot be used \(results\.surprise is"),
        (["model"], None, "must be text"),
        (["runs", 0, "in_top5", 0], 1, "must be true or false"),
        (["runs", 0, "history"], {}, "must be a list"),
        (["runs", 0, "variant"], "SE", "must be 'plain' or 'se'"),
        (["runs", 0, "history"], [], "a training without epochs"),
        (["runs", 0, "predictions"], [1], "answers that do not match the test images"),
        (["runs", 0, "in_top5"], [True], "answers that do not match the test images"),
        (["runs", 0, "predictions", 0], 10, "a class index outside"),
        (["runs", 0, "seed"], 99, "trainings that do not match the seeds"),
        (["data", "train_counts"], [1], "training counts"),
        (["data", "unreadable", 0], ["one"], "must be a list of 2"),
        (["fixed", 0, "thumbnail"], "https://example.org/x.png", "a thumbnail that is not an embedded image"),
        (["top1", "difference"], 0.5, "a difference that does not match the errors"),
        (["versions"], [], "must be an object"),
    ],
)
def test_says_what_is_wrong(comparison, where, value, message):
    content = json.loads(to_json(comparison))
    changed(content, where, value)
    with pytest.raises(SenetError, match=message) as caught:
        from_json(json.dumps(content))
    assert "\n" not in str(caught.value)


def test_files_from_before_waiting_was_measured_are_read(comparison):
    content = json.loads(to_json(comparison))
    for run in content["runs"]:
        for epoch in run["history"]:
            del epoch["data_wait"]
    assert from_json(json.dumps(content)) == comparison
    del content["runs"][0]["history"][0]["train_seconds"]
    with pytest.raises(SenetError, match=r"results.runs\[0\].history\[0\].train_seconds is missing"):
        from_json(json.dumps(content))


def test_other_json_is_refused():
    with pytest.raises(SenetError, match="schema_version"):
        from_json("[1, 2]")


def test_names_the_file(comparison, tmp_path):
    with pytest.raises(SenetError, match=r"nothing\.json cannot be read"):
        read_results(tmp_path / "nothing.json")
    (tmp_path / "short.json").write_text(to_json(comparison)[:100])
    with pytest.raises(
        SenetError, match=r"The results cannot be read, perhaps because .*not valid JSON \(Unterminated"
    ):
        read_results(tmp_path / "short.json")
    (tmp_path / "picture.json").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SenetError, match="not text"):
        read_results(tmp_path / "picture.json")
    with pytest.raises(SenetError, match="could not be written"):
        write_results(comparison, tmp_path / "no folder" / "results.json")
