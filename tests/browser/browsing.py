"""What the tests of pages do with a driver of Chromium."""
import json


def resize(driver, size):
    """Let the page have a size (width, height); a narrow one is that of a phone."""
    width, height = size
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})


def network_events(driver):
    """Return what the browser noted of the network since the last call."""
    return [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]


def requested(events):
    """Return the addresses that were asked for."""
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
