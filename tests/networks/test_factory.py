from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from torch import nn

from senet.errors import SenetError
from senet.networks.factory import refuse_ignored
from senet.networks.foreign import create_foreign, find_foreign, is_foreign, package_version, usual_image
from tests.nets import nets

__all__ = ["nets"]

pytestmark = pytest.mark.usefixtures("nets")


def shape_of(name: str, **options: int) -> tuple[int, int]:
    """Return the classes and the channels a network was built with."""
    model = create_foreign(name, **options)  # type: ignore[arg-type]
    assert isinstance(model.fc, nn.Linear) and isinstance(model.conv1, nn.Conv2d)
    return model.fc.out_features, model.conv1.in_channels


def test_a_factory_is_told_what_its_signature_names() -> None:
    assert shape_of("nets:tiny", num_classes=7, in_channels=2) == (7, 2)
    assert shape_of("nets:tiny", num_classes=7) == (7, 1)
    assert shape_of("nets:chans", num_classes=7, in_channels=2) == (7, 2)
    assert shape_of("nets:anything", num_classes=7, in_channels=2) == (7, 1)
    assert shape_of("nets:fixed", num_classes=7, in_channels=2) == (10, 1)
    assert shape_of("nets:Net", num_classes=7, in_channels=2) == (7, 2)
    assert shape_of("nets:Net") == (10, 3)


def test_the_present_folder_stays_importable() -> None:
    here = str(Path.cwd())
    assert here not in sys.path
    create_foreign("nets:tiny", num_classes=3)
    create_foreign("nets:tiny", num_classes=3)
    assert sys.path.count(here) == 1 and sys.path[0] == here


def test_a_module_in_a_package_and_a_name_in_a_class() -> None:
    Path("zoo_package").mkdir()
    Path("zoo_package/__init__.py").write_text("")
    Path("zoo_package/more.py").write_text(
        "import nets\nclass Zoo:\n    @staticmethod\n    def small(num_classes):\n"
        "        return nets.tiny(num_classes)\n"
    )
    assert shape_of("zoo_package.more:Zoo.small", num_classes=4) == (4, 1)
    assert package_version("zoo_package.more:Zoo.small") == {}
    assert usual_image("nets:tiny", create_foreign("nets:tiny", num_classes=2)) is None


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nets:", r"'nets:' is not the name of a network: write timm:NAME, .* package\.module:factory"),
        (":tiny", "':tiny' is not .*of a network: write timm:NAME"),
        ("nets:tiny:x", "'nets:tiny:x' is not .*of a network: write timm:NAME"),
        ("nets.py:tiny", r"There is no module 'nets\.py' in this folder or .*the installed packages:"),
        ("nests:tiny", "There is no module 'nests' in this folder or .*the installed packages:"),
        ("nets:tony", r"nets has no 'tony'\. Did you mean 'tiny'"),
        ("nets:NETS.x", r"nets has no 'NETS\.x'"),
        ("nets:made", "nets:made is a network object, but"),
        ("nets:KEPT", "nets:KEPT is a dict: name a function or class"),
        ("nets:fails", r"nets:fails\(num_classes=3\) failed: IndexError: list .* \(nets\.py, line 57\)"),
        ("nets:number", r"nets:number must return a torch\.nn\.Module, not int\."),
        (
            "nets:Block",
            r"nets:Block\(\) failed: TypeError: .* missing 1 required positional argument: 'width'",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(SenetError, match=sentence) as error:
        create_foreign(name, num_classes=3)
    assert "\n" not in str(error.value) and not re.search(r"\.\.", str(error.value))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import nowhere\n", "broken cannot be imported: ModuleNotFoundError: .*'nowhere' .*py, line 1"),
        (
            "x = 1\n1 / 0\n",
            r"broken cannot be imported: ZeroDivisionError: division by zero \(broken\.py, line 2",
        ),
        ("def f(:\n", r"broken cannot be imported: SyntaxError: invalid syntax \(broken\.py, line 1\)"),
        (
            "import sys\nsys.exit('bye')\n",
            r"broken cannot be imported: SystemExit: bye \(broken\.py, line 2\)",
        ),
    ],
)
def test_a_module_that_fails_is_one_sentence(text: str, sentence: str) -> None:
    Path("broken.py").write_text(text)
    with pytest.raises(SenetError, match=sentence) as error:
        find_foreign("broken:f")
    assert error.value.__cause__ is not None


def test_pretrained_is_a_keyword_of_the_factory() -> None:
    with pytest.raises(SenetError, match="nets:tiny has no keyword 'pretrained'"):
        create_foreign("nets:tiny", num_classes=3, pretrained=True)
    Path("ready.py").write_text(
        "import nets\ndef f(pretrained=False):\n    return nets.Net(5 if pretrained else 4)\n"
    )
    assert shape_of("ready:f", pretrained=True)[0] == 5


def test_a_number_without_effect_is_refused() -> None:
    refuse_ignored("nets:tiny", num_classes=3, in_channels=1)
    refuse_ignored("nets:chans", num_classes=None, in_channels=1)
    refuse_ignored("nets:anything", num_classes=3, in_channels=None)
    refuse_ignored("timm:resnet18", num_classes=3, in_channels=1)
    with pytest.raises(SenetError, match="nets:fixed takes no keyword num_classes, so 3 would have"):
        refuse_ignored("nets:fixed", num_classes=3, in_channels=None)
    with pytest.raises(SenetError, match="no keyword in_channels or in_chans, so 2"):
        refuse_ignored("nets:anything", num_classes=3, in_channels=2)


def test_names_are_told_apart_by_the_colon() -> None:
    assert is_foreign("nets:tiny") and not is_foreign("se_resnet50")
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
