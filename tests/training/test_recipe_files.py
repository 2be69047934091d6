from __future__ import annotations

import csv
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.training.recipe import Recipe
from senet.training.recipe_files import (
    FOLDER,
    STATUSES,
    list_recipes,
    load_recipe,
    read_recipe_file,
)
from senet.training.schedule import drops, learning_rate

NAMES = list_recipes()
PAPER = [name for name in NAMES if name.startswith("paper")]
# What decides a training; a file that leaves one of these to the defaults would change with them.
DECISIVE = [
    "epochs",
    "batch_size",
    "learning_rate",
    "momentum",
    "nesterov",
    "weight_decay",
    "decay_norm",
    "schedule",
    "warmup_epochs",
    "label_smoothing",
    "image_size",
    "crop",
    "flip",
    "precision",
]


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_value_that_matters_is_stated_with_its_source(name: str) -> None:
    file = read_recipe_file(name)
    assert file.description and file.purpose and "\n" not in file.description
    assert set(DECISIVE) <= set(file.values)
    for key, each in file.values.items():
        assert each.source and each.status in STATUSES, key
    if load_recipe(name).schedule == "step":
        assert {"step_epochs", "step_factor"} <= set(file.values)


def test_the_recipes_that_were_promised() -> None:
    promised = (
        "paper-imagenet paper-mobile paper-ablation paper-cifar released-models modern small-data fine-tune"
    )
    assert set(promised.split()) <= set(NAMES)
    assert NAMES[: len(PAPER)] == PAPER, "those of the paper first"
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(NAMES)


def test_section_5_1() -> None:
    recipe = load_recipe("paper-imagenet")
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.momentum) == (100, 1024, 0.6, 0.9)
    steps = 1251  # of 1,281,167 images
    rates = [learning_rate(recipe, epoch * steps, steps) for epoch in range(100)]
    assert rates == pytest.approx([0.6] * 30 + [0.06] * 30 + [0.006] * 30 + [0.0006] * 10)
    assert drops(load_recipe("paper-ablation")) == (125, 200, 250)
    assert (load_recipe("released-models").rotation, load_recipe("released-models").jitter) == (10, 20)
    senet154 = load_recipe("senet-154")
    assert (senet154.batch_size, senet154.learning_rate, senet154.label_smoothing) == (2048, 1.0, 0.1)
    assert senet154.freeze_norm_epochs > 0


def test_wide_and_shaken_networks() -> None:
    wide = load_recipe("paper-cifar-wide")
    assert [round(learning_rate(wide, epoch, 1), 6) for epoch in (59, 60, 120, 160, 199)] == [
        0.1,
        0.02,
        0.004,
        0.0008,
        0.0008,
    ]
    assert {load_recipe(name).cutout for name in PAPER if "shake" in name} == {8, 16}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, deadline=None)  # a deadline would time the machine
@given(epochs=st.integers(1, 2000))
def test_any_number_of_epochs_is_allowed(name: str, epochs: int) -> None:
    recipe = load_recipe(name, epochs=epochs)
    whole = load_recipe(name)
    assert recipe.epochs == epochs
    assert recipe.warmup_epochs <= whole.warmup_epochs
    for drop in recipe.step_epochs:
        assert any(
            abs(drop / epochs - each / whole.epochs) <= 0.5 / epochs + 1e-9 for each in whole.step_epochs
        )
    assert (recipe.freeze_norm_epochs > 0) == (whole.freeze_norm_epochs > 0 and epochs > 1)
    # Nothing but what is counted in epochs has changed.
    counted = {
        each: getattr(whole, each)
        for each in ("epochs", "step_epochs", "warmup_epochs", "freeze_norm_epochs", "grow_epochs")
    }
    assert replace(recipe, **counted) == whole


def test_what_a_user_gives_is_never_altered() -> None:
    recipe = load_recipe("paper-imagenet", epochs=10, step_epochs=(2, 9), warmup_epochs=3.0)
    assert (recipe.step_epochs, recipe.warmup_epochs) == ((2, 9), 3.0)
    with pytest.raises(SenetError, match=r"step_epochs must be from 1 to 9, within .*not \(30, 60\)\."):
        load_recipe("paper-imagenet", epochs=10, step_epochs=(30, 60))
    with pytest.raises(SenetError, match=r"epochs must be .*, not 0"):
        load_recipe("paper-imagenet", epochs=0)
    with pytest.raises(SenetError, match=r"no recipe setting 'epoch'.*'epochs'"):
        load_recipe("paper-imagenet", epoch=10)


def test_consequences_are_told() -> None:
    file = read_recipe_file("paper-imagenet")
    recipe, (told,) = file.recipe(epochs=50)
    assert recipe.step_epochs == (15, 30, 45)
    assert (
        told
        == "With 50 epochs instead of the recipe's 100, step_epochs changes from 30, 60, 90 to 15, 30, 45."
    )
    recipe, (told,) = file.recipe(schedule="cosine")
    assert (recipe.step_epochs, recipe.step_factor) == ((), None) and "cosine" in told
    recipe, (told,) = file.recipe(batch_size=256)
    assert recipe.learning_rate == 0.15 and "for 256 it is scaled in proportion to 0.15" in told
    assert file.recipe(batch_size=256, learning_rate=0.15)[1] == ()
    assert file.recipe(epochs=100, batch_size=1024)[1] == ()
    with pytest.raises(SenetError, match="no effect with the cosine"):
        file.recipe(schedule="cosine", step_factor=0.2)


def test_a_users_file_may_be_plain(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'learning_rate = 1\nepochs = 4\nschedule = "step"\nstep_epochs = [2]\n'
        'class_weights = ["cat=2"]\n[weight_decay]\nvalue = 0\n',
    )
    for name in (path, str(path)):
        assert load_recipe(name) == Recipe(
            learning_rate=1.0,
            epochs=4,
            schedule="step",
            step_epochs=(2,),
            class_weights=("cat=2",),
            weight_decay=0.0,
        )
    assert isinstance(load_recipe(path).learning_rate, float)
    assert load_recipe(write(tmp_path, "")) == Recipe()
    copied = write(tmp_path, (FOLDER / "modern.toml").read_text(encoding="utf-8"))
    assert load_recipe(copied) == load_recipe("modern")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rat = 1", "sets 'learning_rat', .*Did you mean 'learning_rate'"),
        ("epochs = 1.5", "epochs must be a whole number, not 1.5"),
        ("epochs = true", "epochs must be a whole number, not True"),
        ('learning_rate = "0.1"', "learning_rate must be a number, not '0.1'"),
        ("momentum = false", "momentum must be a number, not False"),
        ("flip = 1", "flip must be true or false, not 1"),
        ('schedule = "linear"', "schedule must be 'cosine' or 'step', not 'linear'"),
        ("step_epochs = 30", "step_epochs must be a list, not 30"),
        ("step_epochs = [1.5]", r"step_epochs\[0\] must be a whole number, not 1.5"),
        ("class_weights = [2]", r"class_weights\[0\] must be text, not 2"),
        ("epochs = 2024-01-01", "epochs must be a whole number, not datetime"),
        ("epochs = 3\nepochs = 4", "is not valid TOML"),
        ("[epochs]\nval = 3", "has 'val': it must have value, and may"),
        ("[epochs]\nsource = 'x'", "has no value"),
        (
            "[epochs]\nvalue = 3\nstatus = 'sure'",
            r"The status of epochs in .*of verified, recalled, .*not 'sure'\.",
        ),
        ("[epochs]\nvalue = 3\nsource = 1", "source in the recipe .*must"),
        ("description = 3", "description in the recipe .*must"),
        ("limits = 'none'", "limits in the recipe .*must be a list"),
        ("learning_rate = nan", r"cannot be used: learning_rate must .*not nan\."),
        ("batch_size = 0", r"cannot be used: batch_size must .*not 0\."),
        ("x = " + "[" * 5000 + "]" * 5000, "is not valid TOML"),
        ("learning_rate = " + "9" * 400, "learning_rate must be a smaller number, not 9{57}…"),
        ("learning_rate = 1e400", r"be used: learning_rate must be .*1,000,000, not inf\."),
        ("epochs = 0x" + "f" * 5000, "epochs must be a smaller number, not a number too large to show"),
        ("epochs = " + "9" * 5000, "is not valid TOML"),
        (f"schedule = '{'y' * 10_000}'", "schedule must be 'cosine' or 'step', not 'y{56}…"),
        (f"description = 0x{'f' * 5000}", "description in the recipe .*must"),
        (f"{'y' * 10_000} = 1", "sets 'y{56}…, which is not a training setting"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(SenetError, match=sentence) as caught:
        load_recipe(write(tmp_path, text))
    assert "mine.toml" in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_there_is_no_such_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        SenetError, match=r"no recipe 'paper-imagnet': choose one of .* Did you mean 'paper-imagenet'"
    ):
        load_recipe("paper-imagnet")
    with pytest.raises(SenetError, match="no recipe"):
        load_recipe(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(SenetError, match="is not valid TOML"):
        load_recipe(tmp_path / "latin.toml")


def test_reading_recipes_imports_no_torch() -> None:
    script = (
        "import sys, senet\nsenet.load_recipe('modern'); senet.list_recipes()\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_papers_networks_are_named_as_here() -> None:
    """Purposes name networks; these must exist."""
    from senet.networks.zoo import list_models

    named = re.compile(r"\b(?:preresnet|wrn|shakeshake|shakeeven|senet)\d\w*")
    texts = " ".join(read_recipe_file(name).purpose for name in NAMES)
    found = named.findall(texts)
    assert {"preresnet110", "wrn16_8", "shakeshake26_2x96d", "shakeeven29_2x4x64d", "senet154"} <= set(found)
    assert set(found) <= set(list_models())


def test_numbers_quoted_from_the_paper() -> None:
    results = Path(__file__).parents[2] / "docs/paper/results.csv"
    with results.open(encoding="utf-8") as lines:
        rows = [" ".join(row) for row in csv.reader(lines)]
    limits = " ".join(sentence for name in PAPER for sentence in read_recipe_file(name).limits)
    quoted = re.findall(r"\d+\.\d\d(?= %)", limits)
    assert len(quoted) >= 4
    for number in quoted:
        assert any(number in row for row in rows), number


def test_settings_that_a_file_does_not_name_are_the_defaults() -> None:
    for name in NAMES:
        stated, recipe = read_recipe_file(name).values, load_recipe(name)
        for each in fields(Recipe):
            if each.name not in stated:
                assert getattr(recipe, each.name) == each.default
