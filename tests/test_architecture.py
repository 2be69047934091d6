"""The house as docs/architecture.md describes it."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest
from torch import nn

import senet
from senet.blocks.relatives.gather_excite import GatherExcite
from senet.blocks.squeeze_excitation import SqueezeExcitation

SOURCE = Path(senet.__file__).parent
ROOMS = [
    "kernels",
    "compiler",
    "blocks",
    "networks",
    "weights",
    "surgery",
    "insight",
    "data",
    "training",
    "experiments",
    "report",
    "cli",
]
# What any room may use.
FOUNDATIONS = {"checks", "errors", "files", "randomness", "schema", "shown", "tensor_files", "text"}
MAY_IMPORT = {
    "kernels": set(),
    "compiler": {"kernels"},
    "blocks": {"kernels"},
    "networks": {"blocks", "data"},
    "weights": {"blocks", "networks"},
    "surgery": {"blocks", "kernels", "compiler"},
    "insight": {"blocks", "networks", "kernels"},
    "data": set(),
    "training": {"data", "networks", "weights", "blocks", "insight", "compiler"},
    "experiments": {"training", "insight", "data", "networks", "weights", "blocks", "surgery", "compiler"},
    "report": {"insight"},
    "cli": set(ROOMS),
}
# Rooms may read results, which are plain data, without taking on what measures them.
RESULTS_ONLY = {"training": "senet.insight.results", "report": "senet.insight.results"}
MODULES = sorted(SOURCE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "senet"}
    return {name for name in found if name == "senet" or name.startswith("senet.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_rooms_import_only_what_they_may(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0]
    if room not in ROOMS:
        return
    for name in imports_of(path):
        other = name.split(".")[1] if "." in name else ""
        if other in {"", "__version__", room, *FOUNDATIONS}:
            continue
        assert other in MAY_IMPORT[room], f"{room} must not import {name}"
        if other == "insight" and room in RESULTS_ONLY:
            assert name.startswith(RESULTS_ONLY[room]), f"{room} may read results, not {name}"


def test_rooms_are_these() -> None:
    assert {each.name for each in SOURCE.iterdir() if (each / "__init__.py").exists()} == set(ROOMS)


def test_foundations_know_no_room() -> None:
    for name in FOUNDATIONS:
        assert {each.split(".")[1] for each in imports_of(SOURCE / f"{name}.py")} <= FOUNDATIONS


def test_there_is_one_class_that_squeezes_and_excites() -> None:
    found = set()
    for info in pkgutil.walk_packages([str(SOURCE)], "senet."):
        for _, value in inspect.getmembers(import_module(info.name), inspect.isclass):
            if issubclass(value, nn.Module) and value.__module__.startswith("senet."):
                text = inspect.getsource(value).lower()
                if "excit" in value.__name__.lower() or ("fc1" in text and "fc2" in text):
                    found.add(value)
    # Gather-excite is another block of the same authors: it excites, but squeezes no map to one number.
    assert found == {SqueezeExcitation, GatherExcite}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600, path


def test_tests_mirror_the_source() -> None:
    tests = SOURCE.parents[1] / "tests"
    for path in tests.rglob("test_*.py"):
        folder = path.parent.relative_to(tests)
        assert folder == Path() or (SOURCE / folder).is_dir(), f"{path} mirrors nothing"


def test_public_names_exist_and_are_documented() -> None:
    for name in senet.__all__:
        assert inspect.getdoc(getattr(senet, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        senet.nothing  # noqa: B018
