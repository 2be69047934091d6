"""The page as a reader meets it: in a browser, offline, light and dark, wide and narrow."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from senet.errors import SenetError
from senet.report.page import page, write_page
from tests.report import factory

pytestmark = pytest.mark.slow

CASES = {
    "usual": factory.usual,
    "two classes": factory.two_classes,
    "many classes": factory.many_classes,
    "hostile": factory.hostile,
    "not learned": factory.not_learned,
}
SECTIONS = ["results", "seeds", "curves", "classes", "confusions", "images", "costs", "data", "repeat"]
PLOTS = ["seed-differences", "test-error", "train-loss", "class-errors", "added-costs"]
MATRICES = ["confusion-plain", "confusion-se", "confusion-change"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return each case's comparison and the file its page was written to."""
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for name, make in CASES.items():
        comparison, path = make(), folder / f"{name}.html"
        write_page(comparison, path)
        made[name] = comparison, path
    return made


class Visit:
    """A page open in the browser, with everything it asked for and complained about."""

    def __init__(self, browser, path, **options):
        self.tab = browser.new_page(**options)
        self.requests, self.complaints = [], []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda message: self.complaints.append(message.text))
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(path.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tab.close()


@pytest.fixture
def visit(browser, written):
    return lambda name, **options: Visit(browser, written[name][1], **options)


@pytest.fixture(scope="module")
def visits(browser, written):
    """Return every case's page opened once, for tests that only look."""
    opened = {name: Visit(browser, path) for name, (_, path) in written.items()}
    yield opened
    for visited in opened.values():
        visited.tab.close()


@pytest.mark.parametrize("case", CASES)
def test_asks_for_nothing_and_complains_of_nothing(case, visits, written):
    visited = visits[case]
    outside = [url for url in visited.requests if not url.startswith("data:")]
    assert outside == [written[case][1].as_uri()]
    assert visited.complaints == []


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_comes_first(case, visits, written):
    visited = visits[case]
    heading = visited.tab.locator("h1")
    said = heading.text_content().replace("\N{NO-BREAK SPACE}", " ")
    assert " ".join(said.split()) == written[case][0].verdict.sentence
    assert visited.tab.locator("h1, h2, h3, table, svg, img").first.evaluate("e => e.tagName") == "H1"
    size = heading.locator(".claim").evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    assert size > 30


@pytest.mark.parametrize("case", CASES)
def test_all_sections_and_plots_are_there(case, visits, written):
    matrices = [] if case == "many classes" else MATRICES
    visited = visits[case]
    assert visited.tab.eval_on_selector_all("section", "all => all.map(e => e.id)") == SECTIONS
    names = visited.tab.eval_on_selector_all("svg", "all => all.map(e => e.querySelector('title').id)")
    assert sorted(names) == sorted(f"{name}-title" for name in PLOTS + matrices)
    rows = 7 if case in ("two classes", "not learned") else 8  # top-5 error needs more than five classes
    assert visited.tab.locator(".results tbody tr").count() == rows
    visible = visited.tab.locator("svg").evaluate_all("all => all.every(e => e.clientHeight > 60)")
    assert visible


def test_what_was_not_learned_is_said_before_any_number(visits, written):
    comparison, _ = written["not learned"]
    header = visits["not learned"].tab.locator("header").text_content().replace("\N{NO-BREAK SPACE}", " ")
    numbers = header.index("Top-1 test error")
    for each in comparison.findings:
        assert header.index(each.sentence) < numbers and each.advice in header
    assert header.index(comparison.data.warnings[0]) < numbers
    assert visits["usual"].tab.locator(".alerts").count() == 0


def test_images_show_both_answers(visits, written):
    comparison, _ = written["usual"]
    visited = visits["usual"]
    cards = visited.tab.locator(".card")
    assert cards.count() == len(comparison.fixed) + len(comparison.broken)
    names, image = comparison.data.classes, comparison.fixed[0]
    words = cards.first.locator("dd").all_text_contents()
    expected = [
        names[image.label],
        f"{names[image.plain_prediction]} ✗",
        f"{names[image.se_prediction]} ✓",
    ]
    assert [w.replace("\N{NO-BREAK SPACE}", " ").strip() for w in words] == expected
    loaded = visited.tab.locator("img").evaluate_all("all => all.every(e => e.naturalWidth === 28)")
    assert loaded
    drawn_as = cards.first.locator("img").evaluate("e => getComputedStyle(e).imageRendering")
    assert drawn_as == "pixelated"
    assert cards.first.locator("img").get_attribute("alt") == names[image.label]


def test_large_thumbnails_are_not_pixelated():
    comparison = factory.two_classes()
    small, large = comparison.fixed[0], replace(comparison.fixed[0], thumbnail=factory.thumbnail(0, 96))
    text = page(replace(comparison, fixed=(small, large), broken=(large,)))
    assert (text.count("<img"), text.count('class="tiny"')) == (3, 1)


COLOURS = """() => [document.body, document.querySelector('.to'), document.querySelector('svg text')]
    .map(e => { const s = getComputedStyle(e); return [s.backgroundColor, s.color, s.fill] }).flat()"""
CONTRAST = """() => {
    const level = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = level(getComputedStyle(document.body).backgroundColor);
    const of = e => { const s = getComputedStyle(e);
        const front = level(e.namespaceURI.endsWith('svg') ? s.fill : s.color);
        return (Math.max(front, behind) + 0.05) / (Math.min(front, behind) + 0.05) };
    const words = document.querySelectorAll("p, h1 span, dt, dd, td, th, summary, .key, text");
    return Math.min(...[...words].map(of))
}"""


def test_dark_differs_from_light_and_both_can_be_read(visit):
    seen = {}
    for scheme in ("light", "dark"):
        with visit("usual", color_scheme=scheme) as visited:
            seen[scheme] = visited.tab.evaluate(COLOURS)
            assert visited.tab.evaluate(CONTRAST) >= 4.5, "WCAG 2.2 asks for 4.5 to 1"
    assert seen["light"][0] == "rgb(251, 251, 249)"
    assert seen["dark"][0] == "rgb(18, 19, 23)"
    both = zip(seen["light"], seen["dark"], strict=True)
    pairs = [(light, dark) for light, dark in both if "0, 0, 0" not in light]
    assert len(pairs) >= 4
    assert all(light != dark for light, dark in pairs)


def test_paper_is_white_even_in_dark(visit):
    with visit("usual", color_scheme="dark") as visited:
        visited.tab.emulate_media(media="print", color_scheme="dark")
        assert visited.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert visited.tab.locator("#copy").is_hidden()


@pytest.mark.parametrize("case", CASES)
def test_nothing_sticks_out(case, visit):
    with visit(case) as visited:
        visited.tab.locator("details").evaluate_all("all => all.forEach(e => { e.open = true })")
        for width in (380, 820, 1280):
            visited.tab.set_viewport_size({"width": width, "height": 800})
            assert visited.tab.evaluate("document.documentElement.scrollWidth") == width
            cut = visited.tab.locator(".results tbody td, .results tbody th").evaluate_all(
                "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
            )
            assert cut == []


def test_the_command_can_be_copied(browser, written):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.goto(written["usual"][1].as_uri())
    tab.locator("#copy").click()
    tab.wait_for_function("document.getElementById('copy').textContent !== 'Copy'")
    copied = tab.evaluate("navigator.clipboard.readText().catch(() => String(getSelection()))")
    assert copied == written["usual"][0].command
    context.close()


def test_names_that_are_html_stay_names(visits, written):
    comparison, path = written["hostile"]
    text = path.read_text()
    assert factory.SCRIPT not in text
    assert text.count("<script>") == 1
    visited = visits["hostile"]
    assert visited.tab.title() == f"Inconclusive · resnet20 on photos {factory.SCRIPT}"
    assert visited.tab.locator("script").count() == 1
    assert visited.tab.locator("#command").text_content() == comparison.command
    assert visited.tab.locator("#classes td, #classes tbody th").count() == 5 * len(comparison.data.classes)
    names = visited.tab.locator("#classes tbody th").all_text_contents()
    assert set(names) == set(comparison.data.classes)
    drawn = visited.tab.locator("#classes svg text").all_text_contents()
    assert {'$x_1$ & "co"', "日本語の犬", "--></svg>", "]]><b>"} <= set(drawn)
    assert visited.tab.locator(".files li").count() == 70


def test_many_classes_are_shown_as_the_largest_changes(visits):
    visited = visits["many classes"]
    assert "The 20 classes with the largest change" in visited.tab.locator("#classes .about").text_content()
    assert visited.tab.locator("#classes tbody tr").count() == 120
    assert visited.tab.locator("#classes details").get_attribute("open") is None
    assert visited.tab.locator("#confusions tbody tr").count() == 20


class Tags(HTMLParser):
    """Every tag's attributes, and whether tags are closed in the order they were opened."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.attributes, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("case", CASES)
def test_html_is_well_formed_and_refers_to_nothing_outside(case, written):
    """Holds without a browser as well."""
    text = written[case][1].read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids))
    links = [
        value for name, value in tags.attributes if name in ("src", "href", "xlink:href", "action", "srcset")
    ]
    assert all(value.startswith(("#", "data:")) for value in links)
    assert not re.search(r"@import|url\((?!#)|@font-face", text)
    assert "default-src 'none'" in text


def test_size_is_reasonable(written):
    assert written["usual"][1].stat().st_size < 500_000
    assert written["many classes"][1].stat().st_size < 1_500_000


def test_a_thousand_classes():
    comparison = factory.build(classes=tuple(f"class {i}" for i in range(1000)), images=3000, epochs=3)
    text = page(comparison)
    assert text.count("<svg") == len(PLOTS)
    assert len(text) < 1_500_000


def test_a_diverged_training_is_shown():
    assert "<svg" in page(factory.diverged())


def test_the_share_of_waiting_is_of_the_time_of_all_epochs():
    comparison = factory.two_classes()
    assert "waiting for data" not in page(comparison)

    def waiting(run):
        slow = [replace(run.history[0], train_seconds=90.0, data_wait=0.5)]
        return replace(run, history=(*slow, *(replace(each, train_seconds=0.0) for each in run.history[1:])))

    runs = tuple(waiting(run) for run in comparison.runs)
    seconds = 90.0 * len(runs)
    text = page(replace(comparison, runs=runs, seconds=seconds))
    assert re.search(r"Total training time: [^.]+, 50(&nbsp;|\s)% of it spent waiting for data\.", text)


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(SenetError, match="could not be written"):
        write_page(factory.two_classes(), tmp_path / "nowhere" / "report.html")


def test_the_room_needs_no_torch():
    """A results.json can be looked at where torch is not installed."""
    code = (
        "import sys; sys.modules['torch'] = None; import pkgutil, importlib, senet.report as room; "
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(room.__path__, 'senet.report.')]; "
        "print(sorted(m for m in sys.modules if m.startswith('senet.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {
        name for name in re.findall(r"'(senet\.[\w.]+)'", done.stdout) if not name.startswith("senet.report")
    }
    results = {f"senet.insight.{name}" for name in ("results", "results_rows", "results_timing")}
    foundations = {f"senet.{name}" for name in ("checks", "errors", "files", "schema", "shown", "text")}
    assert loaded == {"senet.insight", *foundations, *results}
