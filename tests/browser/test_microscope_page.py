"""The page of ch_lstm.microscope in a headless Chromium, driven by the keyboard and the mouse."""
import itertools
import pathlib
import re

import numpy
import pytest
from browsing import network_events, requested, resize

import common
from ch_lstm import microscope
from common.functions import softmax
from common.language_model.cell_rnnlm import CellRnnlm
from common.text.vocabulary import Vocabulary
from common.watch.trace import trace

pytest.importorskip("selenium", reason="needs Selenium: pip install -e '.[browser]'")
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

TEXT = "An item (of a list)\nin </script><b>\"'&ü𝒳. The end of it now."
T, D, H = len(TEXT), 3, 5
CELLS = ("lstm", "rnn")
COLUMNS = {"lstm": ["f", "c_prev", "g", "i", "c", "o", "h"], "rnn": ["a", "h"]}
MODES = ("forward", "backward")
HINT = "Formula and source of what you point at stand here."
LIKELIEST = 6  # next characters that are shown
PHONE, DESKTOP = (360, 740), (1200, 900)  # a narrow phone

every_cell = pytest.mark.parametrize("cell", CELLS)
every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def models():
    vocabulary = Vocabulary(sorted(set(TEXT)))
    models = {}
    for cell in CELLS:
        models[cell] = CellRnnlm(cell, vocabulary.size, D, H, dtype=numpy.float64)
        rng = numpy.random.default_rng(1)
        for param in models[cell].params:
            param[...] = rng.standard_normal(param.shape)
    models["rnn"].params[1][:, 0] *= 60  # Wx: some numbers are larger than 10, and some than 100
    models["lstm"].params[3][:3] += [10, 200, 10]  # b: in unit 0 the forget gate is open, so that the cell grows
    models["lstm"].params[3][2 * H] += 10
    models["lstm"].params[3][H] += 10
    return vocabulary, models


@pytest.fixture(scope="module")
def traced(models):
    """Return what a model computes, and the gradients of the loss of one character, each straight from the tracer."""
    vocabulary, by_cell = models
    return lambda cell, output=0: traced_arrays(by_cell[cell], vocabulary.encode(TEXT), output)


def traced_arrays(model, ids, output):
    """Return the arrays (T, ...) of the recurrent layer, the probabilities p (T, V), and the loss of one output."""
    targets = numpy.full_like(ids, -1)  # (T,)
    targets[output] = ids[output + 1]
    with trace(model) as record:
        model.reset_state()
        loss = model.forward(ids[None], targets[None])
        model.backward()
    found = {name: array[0] for name, array in record["layers[1]"].arrays.items()}
    return found | {"p": softmax(record["layers[2]"].arrays["y"][0]), "loss": loss}


class Page:
    """The page, opened anew, and what one does with it."""

    def __init__(self, driver, path):
        self.driver, self.path = driver, path

    def resize(self, size):
        resize(self.driver, size)

    def open(self, size=DESKTOP, scheme="light"):
        self.resize(size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.driver.get(self.path.as_uri())
        return self

    def run(self, script, *args):
        return self.driver.execute_script(script, *args)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        (found,) = self.all(selector)
        return found

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map(each => each.textContent)", selector)

    def keys(self, *keys):
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def hover(self, element):
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver, duration=0).move_to_element(element).perform()

    def click(self, element):
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def switch(self, mode):
        self.click(self.one(f"[name=mode][value={mode}]"))
        return self

    def unfold(self):
        """Open the tables that a phone folds."""
        self.run("document.querySelectorAll('.fold').forEach(each => { each.open = true; })")
        return self

    def type(self, text):
        """Put a text in the place of the sentence, as pasting does."""
        self.run("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
                 self.one("#sentence"), text)

    def move(self, slider, value):
        """Set a slider as a pointer would."""
        self.run("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
                 self.one(slider), value)

    def units(self, cell):
        """Return the numbers that the table of a cell shows, name to H texts."""
        rows = numpy.reshape(self.texts(f"#units-{cell} td .number"), (H, -1)).T.tolist()
        return dict(zip(COLUMNS[cell], rows, strict=True))

    def norms(self, cell):
        """Return the norms that are shown, name to text."""
        names = [text.strip("‖") for text in self.texts(f"#norms-{cell} .q")]
        return dict(zip(names, self.texts(f"#norms-{cell} .number"), strict=True))

    def step(self):
        return int(self.one("#time").get_attribute("value"))

    def formula(self):
        return [self.texts(f"#formula .{part}") for part in ("formula", "code")], self.text("#formula div")


def written(driver, path, text, vocabulary, models):
    """Return the page of a text and untrained models."""
    data = microscope.page_data(vocabulary.encode(text), vocabulary, models) | {"corpus": "a test"}
    for model in data["models"].values():
        model |= {"source": "not trained", "perplexity": 12.34}
    path.write_text(microscope.page(data), encoding="utf-8")
    return Page(driver, path)


@pytest.fixture(scope="module")
def closed_page(chromium, models, tmp_path_factory):
    return written(chromium, tmp_path_factory.mktemp("page") / "microscope.html", TEXT, *models)


@pytest.fixture
def page(chromium, closed_page):
    page = closed_page.open()
    yield page
    assert chromium.get_log("browser") == []


SENTENCES = {"shortest": "An", "repeated": "eeeeeeee", "line ends": "of\n\nit\n", "any order": ".won ti fo dne ehT",
             "longest": (TEXT * 2)[7:7 + microscope.LONGEST]}


# What the page computed, and the gradients of each loss, as name to numbers (T, H), or (T, D) for dx.
COMPUTED = """
const cell = arguments[0], {steps, norms} = data.models[cell];
const ids = data.text.map(character => page.characters.indexOf(character));
const lists = units => Object.fromEntries(
  Object.keys(units[0][0]).map(name => [name, units.map(step => step.map(unit => unit[name]))]));
return {
  text: data.text.join(""), forward: lists(steps.map(step => step.units)),
  p: steps.map(step => [...step.p]), loss: steps.map(step => step.loss), norms,
  backward: ids.slice(1).map((_, output) => {
    const found = allBackward(cell, ids, steps, output);
    return {...lists(found.map(step => step.units)), dx: found.map(step => [...step.dx])};
  }),
};
"""


@every_cell
@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_every_number_of_a_typed_sentence_is_that_of_the_layers(page, models, cell, text):
    vocabulary, by_cell = models
    page.type(text)
    assert page.text("#sentence-message") == ""
    computed = page.run(COMPUTED, cell)
    assert computed["text"] == text
    ids = vocabulary.encode(text)
    arrays = traced_arrays(by_cell[cell], ids, 0)
    assert computed["forward"].keys() == {
        "lstm": {"af", "ag", "ai", "ao", "f", "g", "i", "o", "c_prev", "c", "h"}, "rnn": {"a", "h"}}[cell]
    for name, numbers in computed["forward"].items():
        numpy.testing.assert_allclose(numbers, arrays[name], rtol=1e-5, atol=1e-12, err_msg=name)
    numpy.testing.assert_allclose(computed["p"], arrays["p"], rtol=1e-5, atol=1e-12)
    for output, (gradients, norms) in enumerate(zip(computed["backward"], computed["norms"], strict=True)):
        arrays = traced_arrays(by_cell[cell], ids, output)
        assert computed["loss"][output] == pytest.approx(arrays["loss"], rel=1e-5, abs=1e-12)
        assert gradients.keys() == set(microscope.BACKWARD[cell])
        for name, numbers in gradients.items():
            wanted = arrays[name][:output + 1]
            numpy.testing.assert_allclose(numbers, wanted, rtol=1e-5, atol=1e-12, err_msg=f"{name} of {output}")
            numpy.testing.assert_allclose([step[name] for step in norms], numpy.linalg.norm(wanted, axis=1),
                                          rtol=1e-5, atol=1e-12, err_msg=f"norm of {name} of {output}")


def test_typing_by_keyboard_changes_the_whole_page(page):
    page.run("document.querySelector('#sentence').select()")
    page.keys("The end")
    assert "".join(page.texts("#tiles button")) == "The␣end"
    assert page.one("#time").get_attribute("max") == "6" and page.one("#output").get_attribute("max") == "5"
    assert all(len(strip) == 7 for strip in bars(page, "#unit-strips"))
    page.switch("backward")
    assert page.text("#output-shown") == "loss of d"
    assert all(len(strip) == 7 for strip in bars(page, "#norms-rnn"))
    assert page.step() == 5  # where the gradient of the last loss begins
    page.click(page.all("#tiles button")[3])
    assert page.step() == 2
    page.type("An end of it.")
    assert len(page.all("#tiles button")) == 13 and len(page.all("#tiles [tabindex='0']")) == 1
    assert page.step() == 11


def test_the_step_follows_the_cursor_while_one_types(page, models):
    vocabulary, by_cell = models
    page.run("document.querySelector('#sentence').select()")
    page.keys("𝒳h")
    assert page.step() == 1
    page.keys("e", Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ENTER)
    assert "".join(page.texts("#tiles button")) == "𝒳↵he" and page.step() == 1
    for cell in CELLS:
        p = traced_arrays(by_cell[cell], vocabulary.encode("𝒳\nhe"), 0)["p"][1]
        assert page.texts(f"#next-{cell} .number") == shown_numbers(numpy.sort(p)[::-1][:LIKELIEST])


def test_line_ends_of_windows_are_pasted_as_line_ends(page):
    page.type("of\r\nit")
    assert page.text("#sentence-message") == "" and "".join(page.texts("#tiles button")) == "of↵it"


def test_the_loss_of_an_improbable_character_is_finite(page):
    """As in the layer, whose formula takes no logarithm of a probability."""
    assert page.run("return softmaxWithLoss([-1000, 1000], 0)") == {"p": [0, 1], "loss": 2000}


def test_weights_in_float32_arrive_as_they_are(chromium, tmp_path):
    vocabulary = Vocabulary(["a", "b"])
    models = {cell: CellRnnlm(cell, 2, D, H, seed=0, dtype=numpy.float32) for cell in CELLS}
    page = written(chromium, tmp_path / "page.html", "ab", vocabulary, models).open()
    for cell in CELLS:
        read = page.run("return Object.values(page.models[arguments[0]].weights).map(weight => [...weight])", cell)
        assert read == [param.reshape(-1).tolist() for param in models[cell].params]


@pytest.mark.parametrize("text, message", [
    ("", "Type at least two characters."), ("A", "Type at least two characters."),
    ("né 漢né", "The text that the networks learnt from never has “é”, “漢”."),
    ("A\xa0thing\u0301\u200b.", "The text that the networks learnt from never has U+00A0, “g”, U+0301, U+200B."),
    ("e" * (microscope.LONGEST + 1), f"At most {microscope.LONGEST} characters fit the page, these are 61."),
])
def test_a_sentence_that_cannot_be_read_says_why_and_changes_nothing(page, text, message):
    before = page.texts("#tiles button"), page.units("lstm")
    page.type(text)
    assert page.text("#sentence-message") == f"{message} The page still shows the sentence before."
    assert page.one("#sentence").get_attribute("aria-invalid") == "true"
    assert (page.texts("#tiles button"), page.units("lstm")) == before
    page.type("An item")
    assert page.text("#sentence-message") == "" and page.one("#sentence").get_attribute("aria-invalid") == "false"


def test_the_field_has_a_name_and_its_message_is_announced(page):
    assert page.one("#sentence").accessible_name == (
        f"Type a sentence of your own, of 2 to {microscope.LONGEST} characters. Both networks read it as you type:")
    message = page.one("#sentence").get_attribute("aria-describedby")
    assert page.one(f"#{message}").get_attribute("role") == "status"


@pytest.mark.parametrize("size", [PHONE, (390, 844)])
def test_a_phone_folds_the_tables_of_units(page, size):
    page.open(size)
    assert page.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert not page.one("#units-lstm").is_displayed() and not page.one("#units-rnn").is_displayed()
    summary = page.all("#units summary")[0]
    assert summary.text == f"All {H} units"
    page.click(summary)
    assert page.one("#units-lstm").is_displayed() and not page.one("#units-rnn").is_displayed()
    page.resize(size[::-1])  # turned
    assert page.one("#units-lstm").is_displayed() and page.one("#units-rnn").is_displayed()
    page.open(DESKTOP)
    assert page.one("#units-lstm").is_displayed() and not page.all("#units summary")[0].is_displayed()


def test_loads_without_a_request(page):
    network_events(page.driver)
    page.open()
    page.switch("backward")
    events = network_events(page.driver)
    assert requested(events) == [page.path.as_uri()]
    assert not any("webSocket" in event["method"] for event in events)


def test_the_sentence_is_text_whatever_is_in_it(page):
    shown = "".join(page.texts("#tiles button")).replace("␣", " ").replace("↵", "\n")
    assert shown == TEXT
    assert page.all("#tiles b") == [] and page.driver.title == "Inside an LSTM"
    assert "5 units" in page.text("#about") and "perplexity about 12)" in page.text("#about")
    assert "Perplexity is per character, on the validation part of the text." in page.text("#about")


def shown_numbers(numbers):
    """Return numbers as the page shows them, four digits if possible."""
    decimals = [3 if abs(number) < 10 else 2 if abs(number) < 100 else 1 for number in numbers]
    return [f"{round(number, k) + 0.0:.{k}f}" for number, k in zip(numbers.tolist(), decimals)]


def expect_step(page, traced, t):
    assert page.step() == t
    assert [page.run("return arguments[0].textContent", each)[0] for each in page.all("#tiles [aria-current]")] == [
        {" ": "␣", "\n": "↵"}.get(TEXT[t], TEXT[t])]
    for cell in CELLS:
        arrays = traced(cell)
        shown = page.units(cell)
        for name in COLUMNS[cell]:
            assert shown[name] == shown_numbers(arrays[name][t]), (cell, name, t)
        probabilities = page.texts(f"#next-{cell} .number")
        assert probabilities == shown_numbers(numpy.sort(arrays["p"][t])[::-1][:LIKELIEST])


@pytest.mark.parametrize("t", [0, 1, 17, T - 1])
def test_the_slider_shows_the_numbers_of_the_tracer(page, traced, t):
    page.move("#time", t)
    expect_step(page, traced, t)


def test_the_slider_by_keyboard(page, traced):
    page.run("document.querySelector('#time').focus()")
    page.keys(Keys.HOME)
    expect_step(page, traced, 0)
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    expect_step(page, traced, 2)
    assert page.one("#time").get_attribute("aria-valuetext") == f"step 2 of {T - 1}, space"
    page.keys(Keys.END, Keys.ARROW_RIGHT)
    expect_step(page, traced, T - 1)


def test_buttons_keys_and_characters_move_the_step(page, traced):
    start = page.step()
    page.click(page.one("#on"))
    page.click(page.one("#on"))
    page.click(page.one("#back"))
    expect_step(page, traced, start + 1)
    page.click(page.all("#tiles button")[5])
    expect_step(page, traced, 5)
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)  # from tile to tile, then choose
    expect_step(page, traced, 7)
    page.run("document.activeElement.blur()")
    page.keys(Keys.ARROW_LEFT)
    expect_step(page, traced, 6)
    for _ in range(8):
        page.click(page.one("#back"))
    expect_step(page, traced, 0)


def test_what_comes_next_is_marked(page, models, traced):
    vocabulary, _ = models
    for t in (3, 11, T - 1):
        page.move("#time", t)
        for cell in CELLS:
            listed = page.run(f"return [...document.querySelectorAll('#next-{cell} li')].map("
                              "each => [each.firstChild.textContent, each.className])")
            coming = TEXT[t + 1] if t < T - 1 else None
            assert [mark for _, mark in listed] == [
                "comes" if character.replace("␣", " ").replace("↵", "\n") == coming else "" for character, _ in listed]
            if coming:
                p = traced(cell)["p"][t, vocabulary.word_to_id[coming]]
                assert f"probability {p:.3f}: loss {-numpy.log(p):.3f}" in page.text(f"#comes-{cell}")
            else:
                assert page.text(f"#comes-{cell}") == "The sentence ends here."


def bars(page, selector):
    """Return the drawn strips below a selector: for each the steps and the heights of its bars."""
    paths = page.run("return [...document.querySelectorAll(arguments[0])].map(each => each.getAttribute('d'))",
                     f"{selector} path")
    return [[(float(x), -float(up)) for x, up in re.findall(r"M(\S+) \S+?v(\S+?)h", path)] for path in paths]


def test_the_chosen_unit_along_the_sentence(page, traced):
    page.click(page.all("#units-lstm tbody tr:nth-child(4) td")[2])
    assert page.text("#unit-title") == "Unit 3 of the LSTM along the sentence"
    arrays, names = traced("lstm"), ["f", "g", "i", "c", "o", "h"]
    assert page.texts("#unit-strips .q") == names
    for name, strip in zip(names, bars(page, "#unit-strips"), strict=True):
        numbers = arrays[name][:, 3]
        scale = 1 if name in "fio" else 2 * max(1, abs(numbers).max())
        assert [x for x, _ in strip] == pytest.approx(numpy.arange(T) + .1)
        numpy.testing.assert_allclose([height for _, height in strip], numbers / scale, atol=1e-3)
    page.click(page.all("#units-rnn tbody tr:nth-child(2) td")[1])
    assert page.text("#unit-title") == "Unit 1 of the RNN along the sentence"
    assert page.texts("#unit-strips .q") == ["a", "h"]


def expect_gradients(page, traced, output, t):
    for cell in CELLS:
        arrays, shown = traced(cell, output), page.norms(cell)
        assert tuple(shown) == microscope.BACKWARD[cell]
        for name, text in shown.items():
            # The three digits of the tracer's norm.
            norm = numpy.linalg.norm(arrays[name][t])
            assert float(text) == float(f"{norm:.2e}"), (cell, name, output, t)


@pytest.mark.parametrize("output, steps", [(T - 2, (T - 2, 30, 0)), (12, (12, 7, 13)), (0, (0, 1))])
def test_the_gradient_of_a_chosen_character(page, traced, output, steps):
    page.switch("backward")
    assert not page.one("#forward").is_displayed() and page.one("#backward").is_displayed()
    page.click(page.all("#tiles button")[output + 1])
    assert page.one("#output").get_attribute("value") == str(output)
    assert [each.get_attribute("aria-pressed") for each in page.all("#tiles button")].index("true") == output + 1
    for t in steps:
        page.move("#time", t)
        expect_gradients(page, traced, output, t)
        if t > output:
            assert f"Step {t} comes after the prediction" in page.text("#summary-text")
    page.switch("forward")
    assert page.one("#forward").is_displayed() and not page.one("#backward").is_displayed()


def test_the_output_by_keyboard(page, traced):
    page.run("document.querySelector('[name=mode]').focus()")
    page.keys(Keys.ARROW_RIGHT)
    assert page.one("#backward").is_displayed()
    page.run("document.querySelector('#output').focus()")
    page.keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    page.move("#time", 1)
    expect_gradients(page, traced, 2, 1)
    page.click(page.one("#output-on"))
    expect_gradients(page, traced, 3, 1)
    page.click(page.one("#output-back"))
    assert page.one("#output").get_attribute("aria-valuetext") == "loss of “i”, predicted at step 2"


def test_the_first_character_has_no_loss(page):
    page.switch("backward")
    before = page.one("#output").get_attribute("value")
    first = page.all("#tiles button")[0]
    assert first.get_attribute("aria-disabled") == "true"
    page.click(first)
    assert page.one("#output").get_attribute("value") == before


def test_how_much_of_the_gradient_is_left(page, traced):
    page.switch("backward")
    page.move("#output", 30)
    page.move("#time", 20)
    rows = numpy.reshape(page.texts("#summary tbody :is(th, td)"), (3, 5)).tolist()
    assert [row[0] for row in rows] == ["LSTM ‖dc‖", "LSTM ‖dh‖", "RNN ‖dh‖"]
    for (_, at_output, here, left, factor), (cell, name) in zip(
            rows, (("lstm", "dc"), ("lstm", "dh"), ("rnn", "dh"))):
        start, end = (numpy.linalg.norm(traced(cell, 30)[name][t]) for t in (30, 20))
        assert float(at_output) == float(f"{start:.2e}") and float(here) == float(f"{end:.2e}")
        ratio = float(left.removesuffix("%")) / (100 if left.endswith("%") else 1)
        assert ratio == pytest.approx(end / start, rel=0.06)  # two digits where it is small
        assert float(factor.removeprefix("× ")) == pytest.approx((end / start) ** 0.1, abs=0.0051)


def test_the_chart_is_logarithmic(page, traced):
    page.switch("backward")
    page.move("#output", 30)
    curves = page.run("""return [...document.querySelectorAll('#chart .curve')].map(each =>
        each.getAttribute('d').slice(1).split('L').map(point => point.split(' ').map(Number)))""")
    labels = page.run("""return [...document.querySelectorAll('#chart text[text-anchor=end]')].map(each =>
        [Number(each.textContent), Number(each.getAttribute('y')) - 4])""")
    (high, y_high), (low, y_low) = labels[-1], labels[0]
    for curve, (cell, name) in zip(curves, (("lstm", "dc"), ("lstm", "dh"), ("rnn", "dh")), strict=True):
        norms = numpy.linalg.norm(traced(cell, 30)[name][:31], axis=1)
        height = (numpy.log10(norms) - numpy.log10(low)) / (numpy.log10(high) - numpy.log10(low))
        numpy.testing.assert_allclose([y for _, y in curve], y_low + height * (y_high - y_low), atol=0.5)
        assert numpy.ptp(numpy.diff([x for x, _ in curve])) < 0.01
    assert "logarithmic" in page.one("#chart").get_attribute("aria-label")


@pytest.mark.parametrize("output, t", [(30, 12), (30, 29), (12, 0)])
def test_the_summary_says_what_is_left_of_the_gradient(page, traced, output, t):
    page.switch("backward")
    page.move("#output", output)
    page.move("#time", t)
    rows = page.run("""return [...document.querySelectorAll('#summary tbody tr')].map(row =>
        [...row.children].map(each => each.textContent))""")
    for row, (cell, name) in zip(rows, (("lstm", "dc"), ("lstm", "dh"), ("rnn", "dh")), strict=True):
        norms = numpy.linalg.norm(traced(cell, output)[name], axis=1)
        ratio = norms[t] / norms[output]
        assert row[0] == f"{cell.upper()} ‖{name}‖"
        assert [float(number) for number in row[1:3]] == [float(f"{norm:.2e}") for norm in norms[[output, t]]]
        left = float(row[3].rstrip("%")) / (100 if "%" in row[3] else 1)
        assert ("%" in row[3]) == (ratio >= 0.001) and left == pytest.approx(float(f"{ratio:.1e}"), rel=1e-9)
        assert float(row[4].lstrip("× ")) == pytest.approx(ratio ** (1 / (output - t)), abs=0.005001)


def test_a_click_into_a_picture_moves_the_step(page):
    for mode, picture in (("forward", "#unit-strips svg"), ("backward", "#norms-rnn svg"), ("backward", "#chart")):
        page.open().switch(mode)
        picture = page.all(picture)[0]
        page.hover(picture)  # its middle
        ActionChains(page.driver, duration=0).move_by_offset(picture.size["width"] // 4, 0).click().perform()
        assert page.step() == pytest.approx(3 * T / 4, abs=2.5)


def expect_formula(page, cell, q):
    """Expect formula and source, the source as it stands in the file."""
    (formulas, codes), text = page.formula()
    lines = [line["formula"] for line in page.run(
        "return page.models[arguments[0]].quantities[arguments[1]].lines", cell, q)]
    assert formulas == lines and len(codes) == len(lines) > 0, (cell, q)
    assert text.startswith(f"{q} ") and {"lstm": "(LSTM, ", "rnn": "(RNN, "}[cell] in text
    places = re.findall(r"common/([\w/]+\.py), line (\d+): ", text)
    for (file, number), code in zip(places, codes, strict=True):
        source = (pathlib.Path(common.__file__).parent / file).read_text(encoding="utf-8").splitlines()
        assert source[int(number) - 1].strip() == code != ""


@every_mode
def test_every_quantity_tells_its_formula_on_hover_and_on_focus(page, mode):
    page.switch(mode)
    seen = {}
    for element in page.all(f"#{mode} [data-q]"):
        seen.setdefault((element.get_attribute("data-cell"), element.get_attribute("data-q")), element)
    wanted = {(cell, name) for cell in CELLS for name in microscope.QUANTITIES[cell]}
    assert set(seen) == {(cell, q) for cell, q in wanted if (q in microscope.BACKWARD[cell]) == (mode == "backward")}
    for cell, q in seen:
        page.keys(Keys.ESCAPE)
        assert page.text("#formula div") == HINT
        page.run("arguments[0].focus()", seen[cell, q])
        expect_formula(page, cell, q)
        assert seen[cell, q].get_attribute("aria-describedby") == "formula"
    for cell, q in seen:
        page.keys(Keys.ESCAPE)
        page.run("document.activeElement.blur()")
        page.hover(page.one("h1"))
        page.hover(seen[cell, q])
        expect_formula(page, cell, q)


def test_a_change_of_direction_clears_the_formula(page):
    page.run("arguments[0].focus()", page.all("#units-rnn [data-q]")[0])
    expect_formula(page, "rnn", "a")
    page.switch("backward")
    assert page.text("#formula div") == HINT


def test_the_formula_of_a_unit_has_its_numbers(page):
    unit, shown = 2, page.units("lstm")
    cells = dict(zip(COLUMNS["lstm"], page.all(f"#units-lstm tr[data-unit='{unit}'] td")))
    at = {name: texts[unit] for name, texts in shown.items()}
    af = page.run("return data.models.lstm.steps[state.t].units[arguments[0]].af.toFixed(3)", unit)
    for name, put in (("c", "{f} * {c_prev} + {g} * {i}"), ("h", "{o} * np.tanh({c})"), ("f", f"sigmoid({af})")):
        page.run("arguments[0].focus()", cells[name])
        numbers = page.texts("#formula .numbers")[-1]
        assert numbers.split("\n  = ") == ["", put.format(**at), at[name]]
    page.keys(Keys.ARROW_UP)
    assert "unit 1" in page.text("#formula") and page.text("#unit-title").startswith("Unit 1 of the LSTM")
    page.click(page.one("#on"))  # what is told moves on with the step
    assert f"step {page.step()}" in page.text("#formula")
    page.click(page.one("#close"))
    assert page.text("#formula div") == HINT and not page.one("#close").is_displayed()


@pytest.mark.parametrize("t", [1, 2, 17])
def test_the_cell_of_the_step_before_has_the_numbers_of_that_step(page, t):
    unit = 2

    def at(step):
        page.move("#time", step)
        return {name: texts[unit] for name, texts in page.units("lstm").items()}

    before, here = at(t - 1), at(t)
    page.run("arguments[0].focus()", page.one(f"#units-lstm td[data-unit='{unit}'][data-q=c_prev]"))
    put = "{f} * {c_prev} + {g} * {i}".format(**before)
    assert page.texts("#formula .numbers") == [f"\n  at step {t - 1}\n  = {put}\n  = {here['c_prev']}"]
    assert here["c_prev"] == before["c"] != here["c"]
    page.move("#time", 0)
    assert page.texts("#formula .numbers") == ["\n  before step 0: 0.000"]


def focused(page):
    """Describe what has the focus."""
    return page.run("""const at = document.activeElement;
        return at.id || at.value || (at.closest('[id]') || {}).id || at.tagName""")


TAB_ORDER = {
    "forward": ["forward", "sentence", "tiles", "back", "time", "on", "next", "comes-lstm", "next", "comes-rnn",
                "units-lstm", "units-rnn", "unit-strips"],
    "backward": ["backward", "sentence", "tiles", "output-back", "output", "output-on", "back", "time", "on", "legend",
                 "norms-lstm", "norms-rnn"],
}


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@every_mode
def test_tab_goes_through_all_parts_and_shows_where_it_is(page, mode, size):
    page.open(size)
    expected = TAB_ORDER[mode]
    if size == PHONE:  # whose tables are folded: what opens them has the focus
        expected = ["units" if each.startswith("units-") else each for each in expected]
    order = []
    for _ in expected:
        page.keys(Keys.TAB)
        if not order and mode == "backward":
            page.keys(Keys.ARROW_RIGHT)
        order.append(focused(page))
        # Outlined, the radio button by way of its label, and covered by neither bar.
        assert page.run("""const at = document.activeElement;
            const style = getComputedStyle(at.type === 'radio' ? at.nextElementSibling : at);
            return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2"""), order[-1]
        assert page.run("""const at = document.activeElement, box = at.getBoundingClientRect();
            const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
            return at.contains(top)"""), order[-1]
    assert order == expected


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_arrow_keys_go_through_a_table_and_nothing_covers_them(page, size):
    page.open(size).unfold()
    page.run("document.querySelector('#units-lstm [tabindex=\"0\"]').focus()")
    seen = set()
    for keys in ([Keys.ARROW_RIGHT] * 6, [Keys.ARROW_DOWN] * H, [Keys.HOME], [Keys.ARROW_UP] * H, [Keys.END]):
        for key in keys:
            page.keys(key)
            seen.add(page.run("const at = document.activeElement; return [at.dataset.q, at.dataset.unit].join()"))
            assert page.run("""const at = document.activeElement, box = at.getBoundingClientRect();
                return at.contains(document.elementFromPoint(box.left + box.width / 2, box.top + 4))""")
    assert seen == {f"{name},{unit}" for name in ("f", "h") for unit in range(H)} | {
        f"{name}," for name in COLUMNS["lstm"]}
    assert len(page.all("#units-lstm [tabindex='0']")) == 1


CONTRAST = """
const numbers = color => color.match(/[\\d.]+/g).map(Number);
const luminance = color => numbers(color).slice(0, 3).map(part => part / 255)
  .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
  .reduce((sum, part, k) => sum + part * [.2126, .7152, .0722][k], 0);
function behind(element) {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor, [, , , alpha = 1] = numbers(color);
    if (alpha === 1) return color;
    if (alpha !== 0) throw new Error("half transparent");
  }
  return "rgb(255, 255, 255)";
}
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, style = getComputedStyle(element);
  if (!walker.currentNode.textContent.trim() || !element.getClientRects().length) continue;
  const color = element.ownerSVGElement ? style.fill : style.color;
  const [low, high] = [luminance(color), luminance(behind(element))].sort((a, b) => a - b);
  found.push([(high + .05) / (low + .05), walker.currentNode.textContent.trim(), color, behind(element)]);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@every_mode
def test_all_text_has_contrast(page, mode, scheme):
    page.open(scheme=scheme).switch(mode)
    page.run("document.querySelector(`#${arguments[0]} [data-q]`).focus()", mode)
    found = page.run(CONTRAST)
    assert len(found) > 100
    # 4.5 is what WCAG 2.2 asks for (1.4.3, level AA).
    assert [each for each in found if each[0] < 4.5] == []
    (page_color,) = {each[3] for each in found if each[1] == "Inside an LSTM"}
    assert (page_color == "rgb(21, 22, 26)") == (scheme == "dark")


@every_mode
def test_a_phone_shows_it_without_scrolling_sideways(page, mode):
    page.open(PHONE).unfold().switch(mode)
    for t in (0, T - 1):
        page.move("#time", t)
        assert page.run("return document.documentElement.scrollWidth") == 360
        assert page.run("""return [...document.body.querySelectorAll('*')].filter(each => {
            const box = each.getBoundingClientRect();
            return box.width && (box.left < -.5 || box.right > 360.5) && !each.ownerSVGElement;
        }).map(each => each.outerHTML.slice(0, 80))""") == []
        # Numbers stay within their cells.
        assert page.run("""return [...document.querySelectorAll('td, th')].filter(each =>
            each.getClientRects().length && each.scrollWidth > Math.ceil(each.getBoundingClientRect().width))
            .map(each => each.textContent)""") == []
        # Names end before their pictures begin.
        assert page.run("""return [...document.querySelectorAll('.strips li')].filter(each =>
            each.querySelector('.q span').getBoundingClientRect().right > each.children[1].getBoundingClientRect().left)
            .map(each => each.textContent)""") == []


@every_mode
def test_targets_are_large_enough_for_a_finger(page, mode):
    page.open(PHONE).unfold().switch(mode)
    sizes = page.run("""return [...document.querySelectorAll('button, input, textarea, summary, [tabindex]')]
        .filter(each => each.getClientRects().length)
        .map(each => [each.id || each.className, each.getBoundingClientRect().width,
                      each.getBoundingClientRect().height])""")
    assert len(sizes) > T
    assert {what for what, _, height in sizes if height < 32} == set()
    main = [(width, height) for what, width, height in sizes if what in ("back", "on", "output-back", "output-on")]
    assert len(main) == (2 if mode == "forward" else 4) and {size for each in main for size in each} == {44}
    assert min(page.run("return [...document.querySelectorAll('#tiles button')].map("
                        "each => each.getBoundingClientRect().width)")) >= 24


@every_mode
def test_everything_has_an_accessible_name(page, mode):
    page.switch(mode)
    page.driver.execute_cdp_cmd("Accessibility.enable", {})
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {"button", "radio", "slider", "group", "grid", "gridcell", "columnheader", "rowheader", "heading", "image",
             "img", "complementary", "region"}
    counts = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        focusable = any(each["name"] == "focusable" and each["value"]["value"] for each in node.get("properties", []))
        if not node["ignored"] and (role in named or focusable) and role != "RootWebArea":
            # In words: a sign such as an arrow is no name. Cells of the table are named by their numbers.
            assert re.search("[0-9]" if role == "gridcell" else "[A-Za-z]", node["name"]["value"]), node
            counts[role] = counts.get(role, 0) + 1
    assert counts["slider"] == (1 if mode == "forward" else 2) and counts["button"] > T and counts["radio"] == 2
    assert page.run("return document.documentElement.lang") == "en"
    ids = page.run("return [...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))


def test_headings_are_in_order(page):
    levels = page.run("""return [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')]
        .filter(each => each.getClientRects().length).map(each => Number(each.tagName[1]))""")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_without_colour_the_signs_and_the_curves_differ(page):
    """Negative bars are broken and go to the other side; the three curves have dashes and markers of their own."""
    drawn = page.run("""return [...document.querySelectorAll('#units-lstm td[data-q=h]')].map(each => {
        const bar = each.querySelector('i'), box = bar.getBoundingClientRect(), whole = each.getBoundingClientRect();
        return [Number(each.textContent), getComputedStyle(bar).backgroundImage !== 'none',
                box.left + box.width / 2 < whole.left + whole.width / 2];
    })""")
    assert {number < 0 for number, *_ in drawn} == {True, False}
    assert all(number == 0 or broken == left == (number < 0) for number, broken, left in drawn)
    page.switch("backward")
    for place in ("#chart", "#legend"):
        curves = page.run("""return [...document.querySelectorAll(arguments[0])].map(each =>
            [each.getAttribute('stroke-dasharray'),
             each.nextElementSibling.tagName + each.nextElementSibling.classList.contains('hollow')])""",
                          f"{place} .curve")
        dashes, markers = zip(*curves)
        assert len(set(dashes)) == len(set(markers)) == 3


@pytest.mark.parametrize("text", ["ab", "a" * microscope.LONGEST])
def test_the_shortest_and_the_longest_sentence(chromium, tmp_path, text):
    vocabulary = Vocabulary(["a", "b"])
    models = {cell: CellRnnlm(cell, 2, D, H, seed=0) for cell in CELLS}
    page = written(chromium, tmp_path / "page.html", text, vocabulary, models).open(PHONE)
    for mode in MODES:
        page.switch(mode)
        page.click(page.all("#tiles button")[-1])
        page.click(page.one("#back"))
        assert page.run("return document.documentElement.scrollWidth") == 360
    assert chromium.get_log("browser") == []
