"""The page clicked through as its user does, in Chromium, on a server in a process of its own."""

from __future__ import annotations

import json
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
import torch
import yaml
from safetensors.torch import load_file

import lorafold
from tests.adapters.samples import peft_folder, peft_pair
from tests.command_lines import ROOT, python
from tests.commands.ui.ui_samples import HOSTILE, UI, adapter_files, hostile_files, serving
from tests.pages.browser import Keys, WebDriverWait, _requested, all_of, by_id, needs_browser
from tests.pages.browser import browser as browser

no_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="no Gradio")  # which takes seconds to import
WAIT = 300  # seconds, as a machine may be loaded
pytestmark = [needs_browser, no_gradio]


def opened(browser, address, scheme="light", width=1400):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    until(browser, "input[type=file]")


def until(browser, selector, count=1):
    """The elements, once there are so many; on a loaded machine too."""
    WebDriverWait(browser, WAIT).until(lambda _: len(all_of(browser, selector)) == count)
    return all_of(browser, selector)


def dropped(browser, *files, frame=True):
    all_of(browser, "input[type=file]")[0].send_keys("\n".join(map(str, files)))
    if frame:
        until(browser, "#picture iframe")


def tab_to(browser, name, most=30):
    """By the keyboard alone."""
    for _ in range(most):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("id") == name:
            return browser.switch_to.active_element
    raise AssertionError(f"no way to {name}")


def texts(browser, selector):
    return [element.text for element in all_of(browser, selector)]


def test_dropped_looked_at_merged_and_downloaded(browser, tmp_path):
    """With hostile files among them, by the keyboard, and nothing stays when the page and the server are closed."""
    style, character = adapter_files(tmp_path, "style", "character")
    browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "got")})
    with serving(tmp_path, *UI) as server:
        opened(browser, server.address)
        dropped(browser, style, character, *hostile_files(tmp_path))
        refused = [element.text for element in until(browser, ".refusal", 3)]
        assert [line.partition(":")[0] for line in refused] == [f"{x}.safetensors" for x in ("pickle", "huge", "nan")]
        assert "this is a pickle" in refused[0] and "holds NaN or Inf" in refused[2] and "\n" not in "".join(refused)
        assert str(server.temporary) not in "".join(refused)
        assert texts(browser, ".card h3") == ["1 style.safetensors", "2 character.safetensors"]
        assert texts(browser, "#overlap .answer") == ["style and character: practically independent"]

        rank = all_of(browser, "#rank input[type=number]")[0]
        rank.send_keys(Keys.CONTROL, "a")
        rank.send_keys("3", Keys.TAB)
        tab_to(browser, "merge").send_keys(Keys.ENTER)
        until(browser, "#result .answer")
        assert texts(browser, "#result .first")[0].startswith("style keeps ")
        tab_to(browser, "download").send_keys(Keys.ENTER)
        got = tmp_path / "got" / "merged.safetensors"
        WebDriverWait(browser, WAIT).until(lambda _: got.exists())
        expected = lorafold.merge([style, character], rank=3).save(tmp_path / "expected.safetensors")
        torch.testing.assert_close(load_file(got), load_file(expected), rtol=1e-6, atol=1e-9)

        assert {urlsplit(url).netloc for url in _requested(browser)} <= {urlsplit(server.address).netloc, ""}
        assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert "merged.safetensors" in server.left()
        browser.get("about:blank")
        WebDriverWait(browser, WAIT).until(lambda _: server.left() == [])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server"), *UI, "max_size=1") as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 700, 1400])
def test_no_window_is_too_narrow_and_dark_is_dark(browser, server, tmp_path, width, scheme):
    opened(browser, server.address, scheme, width)
    dropped(browser, *adapter_files(tmp_path, "style", "a_character_with_a_rather_long_name_" * 2))
    by_id(browser, "weighted").find_element("css selector", "input").click()
    until(browser, "#weights input[type=range]", 2)
    by_id(browser, "merge").click()
    until(browser, "#result .answer")
    wide, paper = browser.execute_script(
        "return [document.documentElement.scrollWidth - innerWidth, getComputedStyle(document.body).backgroundColor]"
    )
    assert wide <= 0
    light = min(map(int, paper.removeprefix("rgb(").rstrip(")").split(",")[:3])) > 128
    assert light == (scheme == "light")


@pytest.mark.slow
def test_the_picture_is_drawn_and_shut_in(browser, server, tmp_path):
    opened(browser, server.address)
    dropped(browser, *adapter_files(tmp_path, "a", "b"))
    (frame,) = all_of(browser, "#picture iframe")
    assert frame.get_attribute("sandbox") == "allow-scripts"
    browser.switch_to.frame(frame)
    try:
        WebDriverWait(browser, WAIT).until(lambda _: texts(browser, "h1") == ["Overlap of a and b"])
        assert browser.execute_script("return self.origin") == "null"
    finally:
        browser.switch_to.default_content()


@pytest.mark.slow
def test_names_are_text(browser, server, tmp_path):
    opened(browser, server.address)
    dropped(browser, *adapter_files(tmp_path, HOSTILE.replace("/", ""), "b"))
    assert all_of(browser, ".card img") == []
    assert "alert" in texts(browser, ".card h3")[0] and browser.title == "lorafold"


@pytest.mark.slow
def test_the_two_files_of_peft_are_one_adapter_and_an_archive_comes_out(browser, server, tmp_path):
    browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "got")})
    opened(browser, server.address)
    for number in (1, 2):
        folder = peft_folder(tmp_path / f"{number}", peft_pair())
        dropped(browser, *folder.iterdir(), frame=number == 2)
        until(browser, ".card", number)
    assert texts(browser, ".card h3") == ["1 PEFT adapter", "2 PEFT adapter (2)"]
    by_id(browser, "merge").click()
    until(browser, "#result .answer")
    by_id(browser, "download").click()
    WebDriverWait(browser, WAIT).until(lambda _: (tmp_path / "got" / "merged.zip").exists())


@pytest.mark.slow
def test_start_again_forgets_everything(browser, server, tmp_path):
    opened(browser, server.address)
    dropped(browser, *adapter_files(tmp_path, "a", "b"))
    by_id(browser, "clear").click()
    until(browser, ".card", 0)
    assert server.left() == []


@pytest.mark.slow
def test_a_file_beyond_the_limit_is_not_taken(browser, server, tmp_path):
    (tmp_path / "large.safetensors").write_bytes(bytes(2_000_000))
    opened(browser, server.address)
    dropped(browser, tmp_path / "large.safetensors", frame=False)
    (toast,) = until(browser, ".toast-body")
    assert "size" in toast.get_property("textContent") and server.left() == []


@pytest.mark.slow
def test_a_setting_that_cannot_be_is_told_in_a_line(browser, server, tmp_path):
    """Calibration for one of two adapters."""
    opened(browser, server.address)
    dropped(browser, *adapter_files(tmp_path, "a", "b"))
    all_of(browser, "#calibration button")[0].click()
    until(browser, "#calibration input[type=file]")[0].send_keys(str(tmp_path / "a.safetensors"))
    until(browser, "#calibrated p")
    by_id(browser, "merge").click()
    assert (
        "a.safetensors" in until(browser, "#result .refusal")[0].text or "calibration" in texts(browser, ".refusal")[0]
    )


@pytest.mark.slow
def test_no_file_of_this_machine_is_taken_for_a_dropped_one(server, tmp_path):
    """What a page could send that is not ours: the path of any file."""
    (file,) = adapter_files(tmp_path, "a")
    data = [[{"path": str(file), "meta": {"_type": "gradio.FileData"}}]]
    body = json.dumps({"data": data, "fn_index": 0, "session_hash": "x"}).encode()
    address = f"{server.address}gradio_api/queue"
    urlopen(Request(f"{address}/join", body, {"Content-Type": "application/json"})).close()
    with urlopen(f"{address}/data?session_hash=x") as events:
        lines = (line.decode() for line in events)
        end = next(line for line in lines if '"process_completed"' in line)
    assert '"success":false' in end.replace(" ", "") and file.exists() and server.left() == []


ADDRESS = """
import asyncio, gradio
from lorafold.commands.ui.drop import drop
with gradio.Blocks(analytics_enabled=False):
    place = drop("files", [".safetensors"])
asyncio.run(place.async_move_resource_to_block_cache("https://example.com/a.safetensors"))
"""


@pytest.mark.slow
def test_an_address_is_no_file():
    """Gradio would fetch it, of whatever size. It is imported elsewhere, for it leaves event loops open."""
    assert "LorafoldError: an address, expected a file" in python("-c", ADDRESS).stderr


@pytest.mark.slow
def test_the_space_is_the_same_page(browser, tmp_path):
    space = ROOT / "examples" / "space"
    if not space.exists():
        pytest.skip("not a checkout")
    _, front, _ = (space / "README.md").read_text("utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["app_file"] == "app.py"
    with serving(tmp_path, str(space / "app.py")) as server:
        opened(browser, server.address)
        dropped(browser, *adapter_files(tmp_path, "a", "b"))
