from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from tools.recipe_table import recipe_rows, value_rows

from senet.cli.main import EXIT_BAD_INPUT, main
from senet.cli.options import Parser
from senet.cli.shared import add_shared_arguments, shared_arguments
from senet.errors import SenetError
from senet.training.recipe import Recipe
from senet.training.recipe_files import FOLDER, list_recipes, load_recipe, read_recipe_file


def parse(*words: str) -> argparse.Namespace:
    parser = Parser(prog="senet")
    add_shared_arguments(parser)
    arguments = parser.parse_args(words)
    arguments.model = arguments.command = None
    return arguments


def test_every_recipe_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    for name in list_recipes():
        assert any(line.startswith(name) for line in out.splitlines()), name


@pytest.mark.parametrize("name", list_recipes())
def test_every_value_is_printed_with_its_source(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["recipes", name]) == 0
    out = capsys.readouterr().out
    for setting, value, status, source in value_rows(name):
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [setting])
        assert all(text in line for text in (value, status, source)), line
    for sentence in read_recipe_file(name).limits:
        assert " ".join(sentence.split()) in " ".join(out.split())


def test_the_file_that_is_printed_is_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["recipes", "small-data", "--toml"]) == 0
    text = capsys.readouterr().out
    assert text == (FOLDER / "small-data.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert main(["recipes", str(tmp_path / "mine.toml")]) == 0


@pytest.mark.parametrize("words", [["recipes", "moder"], ["recipes", "--toml"]])
def test_wrong_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == EXIT_BAD_INPUT
    assert capsys.readouterr().err.startswith("senet: ")


def test_options_come_before_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    given = parse("--recipe", "paper-imagenet", "--learning-rate", "0.3", "--no-flip", "--epochs", "10")
    recipe = shared_arguments(given)["recipe"]
    assert recipe == load_recipe("paper-imagenet", learning_rate=0.3, flip=False, epochs=10)
    assert "to 3, 6, 9" in capsys.readouterr().out
    assert shared_arguments(parse())["recipe"] == Recipe()
    assert capsys.readouterr().out == ""


def test_images_by_position_or_by_name() -> None:
    assert shared_arguments(parse("photos"))["data"] == "photos"
    assert shared_arguments(parse("--data", "photos"))["data"] == "photos"
    assert shared_arguments(parse())["data"] is None
    with pytest.raises(SenetError, match="images are given twice, as 'a' and --data 'b'"):
        shared_arguments(parse("a", "--data", "b"))


def test_rows_for_the_documentation() -> None:
    assert [row[0] for row in recipe_rows()] == list_recipes()
    assert ("learning_rate", "0.6", "verified", "Section 5.1") in value_rows("paper-imagenet")
    assert ("step_epochs", "30 60 90", "verified") in [row[:3] for row in value_rows("paper-imagenet")]


def test_help_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = "".join(capsys.readouterr().out.split())
    assert all(name in text for name in list_recipes())
