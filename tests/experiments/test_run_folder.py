from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from senet.blocks.se_config import SEConfig
from senet.errors import SenetError
from senet.experiments import run_folder
from senet.experiments.run_folder import SETTINGS_NAME, checksum, claim_folder, read_experiment, read_settings
from senet.training.lock import lock_folder
from tests.small import small_recipe, small_train

ONE = {"model": "resnet8", "recipe": {"epochs": 3, "step_epochs": (1, 2)}}
TWO = {"model": "resnet8", "recipe": {"epochs": 4, "step_epochs": (1, 2)}}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_same_experiment_goes_on_and_another_gets_a_new_folder() -> None:
    assert claim_folder(None, "My Photos!-resnet8", ONE, "senet compare") == Path("runs/my-photos-resnet8")
    assert claim_folder(None, "My Photos!-resnet8", ONE, "senet compare") == Path("runs/my-photos-resnet8")
    assert claim_folder(None, "My Photos!-resnet8", TWO, "senet compare") == Path("runs/my-photos-resnet8-2")
    assert claim_folder(None, "My Photos!-resnet8", TWO, "senet compare") == Path("runs/my-photos-resnet8-2")


def test_settings_hold_command_identity_and_versions() -> None:
    folder = claim_folder(Path("x"), "", ONE, "senet compare --out x")
    settings = json.loads((folder / SETTINGS_NAME).read_text())
    assert settings["command"] == "senet compare --out x"
    assert settings["identity"]["recipe"]["epochs"] == 3
    assert {"senet", "torch", "python", "numpy", "pillow"} <= settings["versions"].keys()


def test_a_named_folder_of_another_experiment_is_refused() -> None:
    claim_folder(Path("x"), "", ONE, "")
    with pytest.raises(SenetError, match=r"recipe\.epochs is 3 there and 4 here.*--out"):
        claim_folder(Path("x"), "", TWO, "")


def test_a_named_folder_is_extended_and_one_that_is_found_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "lock_folder", partial(lock_folder, patience_seconds=0.1))
    three, five = (
        {"model": "x", "recipe": asdict(small_recipe(schedule="step", step_epochs=(1,), epochs=epochs))}
        for epochs in (3, 5)
    )
    found = claim_folder(None, "x", three, "short")
    assert claim_folder(None, "x", five, "long") == Path("runs/x-2"), "nobody asked to extend it"
    assert claim_folder(found, "", five, "long", threads=2) == found
    settings = read_settings(found)
    assert settings is not None and settings["identity"] == json.loads(json.dumps(five))
    assert (settings["command"], settings["checksum"]) == ("long", checksum(five))
    before = (found / SETTINGS_NAME).read_bytes()
    with pytest.raises(
        SenetError, match=r"in runs/x has 5 epochs and cannot be .*to 3 epochs: give --epochs 5 or"
    ):
        claim_folder(found, "", three, "short")
    assert (found / SETTINGS_NAME).read_bytes() == before
    with lock_folder(found), pytest.raises(SenetError, match="Another senet process is using"):
        six = {**five, "recipe": asdict(small_recipe(schedule="step", step_epochs=(1,), epochs=6))}
        claim_folder(found, "", six, "longer")
    assert (found / SETTINGS_NAME).read_bytes() == before, "a training that runs keeps its settings"


def test_settings_of_an_extension_that_was_never_begun_are_no_obstacle() -> None:
    recipes = {
        epochs: small_recipe(schedule="step", warmup_epochs=0, epochs=epochs, step_epochs=(1,) * (epochs > 1))
        for epochs in (1, 2, 3)
    }
    identities = {
        epochs: {"model": "x", "seed": None, "recipe": asdict(recipe)} for epochs, recipe in recipes.items()
    }

    def begin(training: str, epochs: int) -> None:
        identity = {
            **identities[epochs],
            "seed": 0,
            "variant": "se",
            "checksum": checksum(identities[epochs]),
        }
        small_train(Path("x") / training, recipes[epochs], identity=identity)

    claim_folder(Path("x"), "", identities[3], "")
    with pytest.raises(SenetError, match="x has 3 epochs and cannot be shortened to 2 epochs"):
        claim_folder(Path("x"), "", identities[2], "")
    begin("seed0-se", 1)
    begin("seed1-se", 1)
    claim_folder(Path("x"), "", identities[2], "")
    claim_folder(Path("x"), "", identities[3], "")
    claim_folder(Path("x"), "", identities[1], "")
    begin("seed0-se", 2)
    claim_folder(Path("x"), "", identities[3], "")
    with pytest.raises(SenetError, match="x has 2 epochs and cannot be shortened to 1 epoch:"):
        claim_folder(Path("x"), "", identities[1], "")
    begin("seed0-plain", 3)
    with pytest.raises(SenetError, match="x has 3 epochs and cannot be shortened to 2 epochs"):
        claim_folder(Path("x"), "", identities[2], "")


def test_a_folder_of_other_files_is_refused_and_left_alone() -> None:
    Path("x").mkdir()
    Path("x/thesis.txt").write_text("years of work")
    with pytest.raises(SenetError, match="not a senet run"):
        claim_folder(Path("x"), "", ONE, "")
    assert [each.name for each in Path("x").iterdir()] == ["thesis.txt"]


def test_damaged_settings_are_refused_by_name() -> None:
    claim_folder(Path("x"), "", ONE, "")
    (Path("x") / SETTINGS_NAME).write_text("{half")
    with pytest.raises(SenetError, match=r"settings\.json cannot be read \(it is not .*the same command"):
        claim_folder(Path("x"), "", ONE, "")


def test_a_file_in_the_way_is_refused() -> None:
    Path("x").write_text("")
    with pytest.raises(SenetError, match="x"):
        claim_folder(Path("x"), "", ONE, "")


def test_jobs_that_start_at_once_share_a_folder() -> None:
    for attempt in range(3):

        def claim(job: int, attempt: int = attempt) -> Path:
            folder = claim_folder(Path(f"x{attempt}"), "", ONE, f"senet compare {job % 2}")
            (folder / f"seed{job}").mkdir()
            return folder

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(claim, range(8))) == {Path(f"x{attempt}")}
        stored = read_settings(Path(f"x{attempt}"))
        assert stored is not None and stored["command"] in ("senet compare 0", "senet compare 1")


def test_of_two_experiments_that_start_at_once_one_is_refused() -> None:
    def claim(job: int) -> str:
        try:
            claim_folder(Path("x"), "", (ONE, TWO)[job % 2], "")
        except SenetError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool:
        refused = [bool(each) for each in pool.map(claim, range(8))]
    assert refused in ([False, True] * 4, [True, False] * 4)


def test_the_first_number_of_threads_and_the_newest_arguments_are_kept() -> None:
    claim_folder(Path("x"), "", ONE, "first", arguments={"seeds": 2}, threads=4)
    claim_folder(Path("x"), "", ONE, "second", arguments={"seeds": 3}, threads=1)
    settings = read_settings(Path("x"))
    assert settings is not None
    assert (settings["threads"], settings["arguments"], settings["command"]) == (4, {"seeds": 3}, "second")
    assert settings["checksum"] == checksum(ONE) == checksum(settings["identity"])


def test_the_checksum_tells_experiments_apart_and_nothing_else() -> None:
    assert checksum(ONE) == checksum(dict(reversed(ONE.items())))
    assert checksum(ONE) != checksum(TWO)
    assert read_settings(Path("nowhere")) is None


def test_an_identity_comes_back_from_json_and_another_version_is_a_sentence() -> None:
    recipe, se = small_recipe(schedule="step", step_epochs=(1, 2)), SEConfig(reduction=8, stages=(2, 4))
    identity = {"job": "compare", "model": "resnet8", "se": asdict(se), "recipe": asdict(recipe)}
    stored = read_experiment(json.loads(json.dumps(identity)), Path("x"))
    assert (stored.recipe, stored.se, stored.model) == (recipe, se, "resnet8")
    for change, said in (
        (
            {"recipe": {**asdict(recipe), "dreams": 3}},
            r"identity\.recipe\.dreams is not known to this version of senet",
        ),
        ({"recipe": {**asdict(recipe), "epochs": 0}}, "epochs must be .*, not 0"),
        ({"se": {**asdict(se), "gate": "swish"}}, r"identity\.se\.gate must be .*'swish'"),
        ({"model": 3}, r"identity\.model must be text, not 3"),
    ):
        with pytest.raises(SenetError, match=rf"^x cannot be used \(.*{said}.*: use the senet"):
            read_experiment(identity | change, Path("x"))
