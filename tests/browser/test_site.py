"""The documentation that `make docs` builds, opened as files in a headless Chromium, without a network."""
import pathlib
import time

import pytest
from browsing import network_events, requested, resize

SITE = pathlib.Path(__file__).parents[2] / "site"
PAGES = {
    "index.html": "make step",
    "reading.html": "From formula to line",
    "notebooks/04_inside_the_lstm.html": "Exercise 4: peepholes",
    "reference/layers.html": "The state after the last forward",
    "source/common/layers/lstm.py.html": "c = f * c_prev + g * i",
}
DESKTOP, PHONE = (1280, 900), (390, 844)
pytestmark = pytest.mark.skipif(not SITE.exists(), reason="needs the site: make docs")


def opened(driver, page, size=DESKTOP):
    """Open a page; return the driver, whose console is empty again."""
    resize(driver, size)
    driver.get((SITE / page).as_uri())
    driver.get_log("browser")
    return driver


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_its_text_and_pictures_without_a_network(chromium, page, size):
    network_events(chromium)
    opened(chromium, page, size)
    assert PAGES[page] in chromium.execute_script("return document.body.textContent")
    broken = chromium.execute_script(
        "return [...document.images].filter(each => each.complete && !each.naturalWidth).map(each => each.src)")
    assert broken == []
    urls = requested(network_events(chromium))
    assert urls and [url for url in urls if url.startswith(("http", "ws"))] == []
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= size[0]


def test_formulas_are_drawn(chromium):
    opened(chromium, "reading.html")
    titles = chromium.execute_script(
        "return [...document.querySelectorAll('.formula svg title')].map(each => each.textContent)")
    assert r"c = f c_{t-1} + g i" in titles
    assert "$" not in chromium.execute_script("return document.querySelector('table:last-of-type').textContent")


def test_a_line_of_the_table_leads_to_its_source(chromium):
    opened(chromium, "reading.html")
    link = chromium.find_element("partial link text", "common/layers/lstm.py:35")
    chromium.execute_script("arguments[0].click()", link)
    line = chromium.execute_script("return document.querySelector(location.hash).parentElement.textContent")
    assert "c = f * c_prev + g * i" in line


def test_the_search_finds_a_notebook_and_a_class(chromium):
    opened(chromium, "index.html")
    query = chromium.find_element("css selector", "[data-md-component=search-query]")
    for words, title in (("peepholes", "Inside the LSTM"), ("StripBatches", "StripBatches")):
        query.clear()
        query.send_keys(words)
        deadline = time.monotonic() + 30
        while title not in (found := chromium.execute_script(
                "return document.querySelector('.md-search-result__list').textContent")):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
