"""Chromium without a window, for tests: driven by selenium, with what the page says and asks for."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_ALONE = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars""".split()
_PHONE_HEIGHT = 800


def missing() -> str:
    """Name what is not installed, or ""."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install selenium"
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not found: apt-get install chromium chromium-driver" if absent else ""


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """Give a driver with a fresh profile in a folder; skip the tests where there is no browser, or fail them in CI."""
    if reason := missing():
        if os.environ.get("CI") or os.environ.get("FER_BENCH_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}; here the tests of the page may not be skipped")
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (*_ALONE, f"--user-data-dir={folder}", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int = _PHONE_HEIGHT) -> None:
    """Give the page a width in CSS pixels, below what a window may have."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(driver: Any, **features: str) -> None:
    """Set media features, such as ``prefers_color_scheme="dark"``."""
    named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})


def complaints(driver: Any) -> list[str]:
    """Give what the page has written to the console since the last call: errors and refusals of its policy included."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """Give the addresses that were asked for since the last call, refused ones included."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
