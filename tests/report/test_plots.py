import re
from xml.etree import ElementTree

import numpy as np
import pytest

from senet.report import plots
from senet.report.by_class import class_errors, confusion_counts, most_changed
from tests.report import factory

COSTS = [("parameters", 1.2, 1.2, 1.2), ("training time", 8.6, 7.1, 10.4), ("memory", -3.0, -3.0, -3.0)]


def all_plots(comparison):
    counts = {v: confusion_counts(comparison, v) for v in ("plain", "se")}
    names = comparison.data.classes
    return [
        plots.seed_differences(comparison),
        plots.error_curves(comparison),
        plots.loss_curves(comparison),
        plots.class_differences(most_changed(class_errors(comparison), 20)),
        plots.added_costs(COSTS),
        plots.confusion(counts["plain"], names, "plain", 9),
        plots.confusion(counts["se"], names, "se", 9),
        plots.confusion_change(counts["se"] - counts["plain"], names),
    ]


@pytest.fixture(
    scope="module", params=[factory.usual, factory.two_classes, factory.hostile], ids=lambda f: f.__name__
)
def drawn(request):
    return all_plots(request.param())


def test_is_well_formed_and_says_what_it_shows(drawn):
    for svg in drawn:
        root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
        title, description = root[0], root[1]
        assert (title.tag, description.tag) == ("title", "desc")
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        assert len(title.text) > 10 and len(description.text) > 10


def test_colours_come_from_the_page(drawn):
    for svg in drawn:
        assert "var(--" in svg
        assert not re.search(r"#[0-9a-f]{6}", svg), "a colour that neither light nor dark can change"
        assert "<style" not in svg and "DejaVu" not in svg and "http" not in svg


def test_ids_are_unique_and_all_references_resolve(drawn):
    everything = "".join(drawn)
    ids = re.findall(r' id="([^"]+)"', everything)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', everything))
    assert references and references <= set(ids)


def test_text_stays_text(drawn):
    assert ">seed " in drawn[0]
    assert (">mean<" in drawn[0]) != (">interval<" in drawn[0])
    assert ">epoch<" in drawn[1]


def test_same_results_same_picture():
    comparison = factory.two_classes()
    assert plots.seed_differences(comparison) == plots.seed_differences(comparison)


def test_dots_lie_on_the_side_of_zero_that_won():
    """With every seed better for SE, all seed dots have SE's colour and only SE's side is named."""
    svg = plots.seed_differences(factory.usual())
    assert "SE better" in svg and "plain better" not in svg
    assert "var(--plain)" not in svg
    worse = plots.seed_differences(factory.usual(gain=-0.012))
    assert "plain better" in worse and "SE better" not in worse
    assert "var(--se)" not in worse


def test_change_is_coloured_by_who_did_better():
    better = plots.confusion_change(np.array([[2, -2], [0, 0]]), ["a", "b"])
    assert "var(--se)" in better and "var(--plain)" not in better
    worse = plots.confusion_change(np.array([[-2, 2], [0, 0]]), ["a", "b"])
    assert "var(--plain)" in worse and "var(--se)" not in worse


def test_curves_hold_every_seed_and_both_means():
    svg = plots.error_curves(factory.usual(epochs=5))
    for variable in ("plain", "se"):
        curves = re.findall(rf'd="M[^"]*L[^"]*"[^>]*stroke: var\(--{variable}\)', svg)
        assert len(curves) == 3 + 1


def test_a_loss_that_exploded_leaves_the_rest_drawn():
    svg = plots.loss_curves(factory.diverged())
    assert "stroke: var(--se)" in svg and "nan" not in svg.split("</desc>")[1].lower()
