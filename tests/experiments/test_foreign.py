"""Comparisons of networks that somebody else built, from the command line and from Python."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import senet
from senet.blocks.se_config import SEConfig
from senet.cli.main import EXIT_BAD_INPUT, main
from senet.errors import SenetError
from senet.experiments import compare as compare_module
from senet.experiments.compare import compare
from senet.experiments.single import train_one
from senet.experiments.twins import build_twins
from senet.report.results_json import read_results
from senet.training.checkpoint import load_checkpoint
from senet.training.recipe import Recipe
from tests.experiments.test_twins import fit, open_gates, seconds_removed
from tests.nets import nets
from tests.references import import_timm
from tests.small import CLASSES, small_source

__all__ = ["nets"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nets")]
WORDS = [
    *("compare", "photos", "--model", "nets:tiny", "--epochs", "1", "--warmup-epochs", "0"),
    *("--batch-size", "12", "--workers", "0"),
]
RECIPE = Recipe(epochs=1, batch_size=12, warmup_epochs=0)


@pytest.fixture(autouse=True)
def photos(nets: Path) -> Path:
    """A folder as a user has it: three classes, no split, 12×12 pixels."""
    source = small_source(45, side=12, classes=("cat", "dog", "owl"))
    for index in range(len(source)):
        folder = nets / "photos" / source.classes[source.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        source.read(index).save(folder / f"{index}.png")
    return nets / "photos"


@pytest.fixture(autouse=True)
def quickly_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = compare_module._measure
    monkeypatch.setattr(compare_module, "_measure", lambda plan, seconds: measure(plan, seconds=0.05))


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused: one sentence, exit code 2, nothing written."""
    before = {path for path in Path().rglob("*") if "__pycache__" not in path.parts}
    assert main(words) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert err.startswith("senet: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert {path for path in Path().rglob("*") if "__pycache__" not in path.parts} == before
    return err


def test_a_whole_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--seeds", "2", "--reduction", "4"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "nets:tiny and its twin nets:tiny + SE (reduction 4)" in out
    folder = Path("runs/photos-nets-tiny")
    assert f"Report: {folder / 'report.html'}" in out

    comparison = read_results(folder / "results.json")
    assert (comparison.model, comparison.se["reduction"], comparison.seeds) == ("nets:tiny", 4, (0, 1))
    assert comparison.command == shlex.join(["senet", *WORDS, "--seeds", "2", "--reduction", "4"])
    # Two blocks of 16 channels and 4 hidden units: weights, biases, and each a multiply-add for a weight.
    assert comparison.cost.se.parameters - comparison.cost.plain.parameters == 2 * (16 * 4 * 2 + 4 + 16)
    assert comparison.cost.se.multiply_adds - comparison.cost.plain.multiply_adds == 2 * 16 * 4 * 2
    assert comparison.cost.plain.parameters == 9 * 16 + 5 * 32 + 4 * 9 * 16 * 16 + 17 * 3
    assert comparison.cost.se.peak_memory_bytes > comparison.cost.plain.peak_memory_bytes
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<b>nets:tiny</b> with and without squeeze-and-excitation" in page
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["identity"]["model"] == "nets:tiny" and settings["identity"]["structure"]

    assert main([*WORDS, "--seeds", "2", "--reduction", "4"]) == 0
    assert capsys.readouterr().out.count("already finished") == 4
    assert [each.name for each in Path("runs").iterdir()] == [folder.name]


def test_another_network_of_the_same_name_gets_its_own_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", *WORDS[1:]]
    assert main([*words, "--out", "x"]) == main(words) == 0
    import nets as module  # type: ignore[import-not-found]

    module.tiny = module.deep = lambda num_classes: module.Net(num_classes, 1, width=20)
    capsys.readouterr()
    assert re.search(
        r"x contains another training \(structure is \w+ there", complaint(capsys, *words, "--out", "x")
    )
    assert main(words) == 0
    assert sorted(each.name for each in Path("runs").iterdir()) == ["photos-nets-tiny", "photos-nets-tiny-2"]


def test_training_one_gives_the_comparisons_weights(photos: Path) -> None:
    _, folder = compare(photos, model="nets:tiny", recipe=RECIPE, seeds=2, workers=0)
    for with_se, variant in ((False, "plain"), (True, "se")):
        network = train_one(photos, model="nets:tiny", with_se=with_se, recipe=RECIPE, seed=1, workers=0)
        found = load_checkpoint(folder / f"seed1-{variant}" / "checkpoint.pt")
        assert found is not None
        weights = network.model.state_dict()
        assert weights.keys() == found[0]["model"].keys()
        assert all((value == weights[key]).all() for key, value in found[0]["model"].items())
        assert network.folder.name == ("photos-nets-tiny-se" if with_se else "photos-nets-tiny-2")
    command = json.loads((network.folder / "settings.json").read_text())["command"]
    assert "model='nets:tiny'" in command and "with_se=True" in command


@pytest.mark.usefixtures("layer_by_layer")
def test_open_gates_reproduce_the_plain_training_exactly(tmp_path: Path) -> None:
    plain, twin = build_twins("nets:tiny", SEConfig(), classes=len(CLASSES), channels=1, seed=0)
    assert open_gates(twin) == 2
    expected, got = fit(plain, tmp_path / "plain"), fit(twin, tmp_path / "se")
    assert seconds_removed(got) == seconds_removed(expected) and got.predictions == expected.predictions
    trained = twin.state_dict()
    assert all((value == trained[key]).all() for key, value in plain.state_dict().items())


def test_train_says_which_network_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", *WORDS[1:]]
    assert main([*words, "--se", "--reduction", "2"]) == 0
    assert "nets:tiny + SE" in capsys.readouterr().out
    assert main([*words[:3], "resnet8", *words[4:], "--se", "--out", "x"]) == 0
    assert "se_resnet8" in capsys.readouterr().out
    assert json.loads(Path("x/settings.json").read_text())["identity"]["se"]["min_hidden"] == 1
    assert "no effect on the plain network 'nets:tiny': train 'nets:tiny + SE' with" in complaint(
        capsys, *words, "--reduction", "2"
    )


def test_timms_networks_are_compared_and_their_version_is_kept(photos: Path) -> None:
    timm = import_timm()
    comparison, folder = compare(
        photos,
        model="timm:test_resnet.r160_in1k",
        recipe=Recipe(epochs=1, batch_size=36, warmup_epochs=0),
        seeds=1,
        workers=0,
    )
    assert folder == Path("runs/photos-timm-test_resnet.r160_in1k")
    assert comparison.versions["timm"] == timm.__version__
    assert json.loads((folder / "settings.json").read_text())["versions"]["timm"] == timm.__version__
    assert (
        comparison.command.startswith("senet.compare(") and "timm:test_resnet.r160_in1k" in comparison.command
    )
    assert comparison.cost.se.parameters > comparison.cost.plain.parameters
    page = senet.write_report(comparison, folder).read_text(encoding="utf-8")
    assert f"timm {timm.__version__}" in " ".join(re.sub("<[^>]+>", " ", page).split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "nets:nothing"], "nets has no 'nothing'"),
        (["--model", "nests:tiny"], "There is no module 'nests'"),
        (["--model", "nets:fails"], r"nets:fails\(num_classes=3\) failed: IndexError: .*\(nets\.py, line"),
        (["--model", "nets:fixed"], "returns 10 scores per image, but the images have 3 classes"),
        (["--model", "nets:pair"], "returns a tuple in training"),
        (["--model", "nets:deep"], "cannot run in (training|evaluation) on images of 12×12 .*--image-size"),
        (["--model", "nets:kept"], "returns the same parameters each time"),
        (["--model", "nets:plain_vgg"], ""),
        (["--model", "nets:tiny", "--reduction", "17"], "at most 16, the channels of layer1.0, not 17"),
        (["--model", "nets:tiny", "--reduction", "0"], "reduction must be"),
        (["--model", "timm:resnet5O"], "Did you mean 'resnet50'"),
        (["--model", "torchvision:resnet18"], "takes images of 3 channels, not 1"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    import_timm()
    assert re.search(sentence, complaint(capsys, "compare", "photos", "--workers", "0", *words))


def test_a_wrong_name_is_told_before_the_images_are_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'nests'" in complaint(capsys, "compare", "nowhere", "--model", "nests:tiny")


def test_from_python_the_sentence_is_an_error(photos: Path) -> None:
    with pytest.raises(SenetError, match="no setting 'ratio'"):
        compare(photos, model="nets:tiny", se={"ratio": 4})
    assert not Path("runs").exists()


def test_a_network_that_has_se_has_no_plain_twin() -> None:
    import_timm()
    with pytest.raises(SenetError, match="timm:seresnet18 already has channel attention"):
        build_twins("timm:seresnet18", SEConfig(), classes=3, channels=3, seed=0)
