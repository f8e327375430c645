"""A headless Chromium for the tests of pages."""
import os
import shutil

import pytest

FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync --force-color-profile=srgb").split()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A driver of Chromium that keeps what the console says and what the network is asked for."""
    programs = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if not all(programs) and "REQUIRE_BROWSER" not in os.environ:
        pytest.skip("needs chromium and chromedriver in the PATH")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs Selenium: pip install -e '.[browser]'")
    options = webdriver.ChromeOptions()
    options.binary_location, driver = programs
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driver
    driver.quit()
