"""The page in Chromium: nothing fails, nothing is fetched, everything is reached by keyboard and fits a phone."""

import base64
import dataclasses
import json
import os
import pathlib
import shutil
import time

import pytest

from infotorch.report import build
from infotorch.report.numbers import number
from tests.report.double import bounds_run, digits_run, fidelity_note, limit_note, noise_run

HOSTILE = [
    '<script>window.hacked=1</script>', '"><img src=x onerror=window.hacked=1>', "'; window.hacked=1; '", "{{ 7 * 7 }}",
    "\u202eright to left\u202c", "👩🏽‍🔬 emoji", "x" * 10_000, "=HYPERLINK(1)", "a\x00b", "</script>", "  ", "﷽" * 50,
]  # fmt: skip
SELECT_FIRST = "#first .card > a"


class Browser:
    """A headless Chromium at a page."""

    def __init__(self, driver):
        self.driver = driver

    def size(self, width, height):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name):
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, html, fragment="", width=1280, height=900):
        """Opens the page and waits until all charts are drawn; forgets earlier logs."""
        self.size(width, height)
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(html.as_uri() + fragment)
        self.wait('return [...document.querySelectorAll(".chart")].every((c) => c.dataset.drawn === "done")')
        return self

    def wait(self, script):
        until = time.monotonic() + 20
        while not self(script):
            assert time.monotonic() < until, f"never true: {script}"
            time.sleep(0.05)

    def __call__(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def press(self, key):
        self.driver.switch_to.active_element.send_keys(key)

    def errors(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Addresses asked for since the page was opened, data URIs left out."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def browser(folder):
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: install infotorch[dev]")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("no Chromium with chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync",
                 "disable-background-networking", "disable-component-update",
                 f"user-data-dir={folder / 'profile'}"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    download = {"behavior": "allow", "downloadPath": str(folder)}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", download)
    yield Browser(driver)
    driver.quit()


@pytest.fixture(scope="module")
def digits(folder):
    run = digits_run()
    chapters = {"limit": limit_note(), "bounds": bounds_run(checkpoints=(20, 200)).noted["bounds"]}
    chapters["fidelity_curve"] = fidelity_note(run)
    return build(dataclasses.replace(run, noted=run.noted | chapters), folder / "digits.html")


@pytest.fixture(scope="module")
def hostile(folder):
    run = digits_run(60)
    names = [HOSTILE[i % len(HOSTILE)] for i in range(60)]
    rows = run.rows.set_column(1, "id", [[f"{name}{i}" for i, name in enumerate(names)]])
    of_label = [HOSTILE[label] for label in rows["label"].to_pylist()]
    rows = rows.set_column(3, "label_name", [of_label]).append_column(HOSTILE[0], [names])
    rows = rows.append_column("text", [names])
    return build(dataclasses.replace(run, rows=rows), folder / "hostile.html")


@pytest.fixture(scope="module")
def large(folder):
    return build(noise_run(2000, side=32), folder / "large.html")


WIDTHS = pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
TOO_WIDE = """
  const scrolls = (e) => e.closest(".scroll, pre, dialog:not([open]), .hidden-text, .skip, template, svg");
  return [...document.querySelectorAll("body *")].filter((e) => !scrolls(e) && e.checkVisibility()
    && (e.getBoundingClientRect().right > innerWidth + 0.5 || e.getBoundingClientRect().left < -0.5))
    .map((e) => e.outerHTML.slice(0, 120));
"""


@WIDTHS
@pytest.mark.parametrize("page", ["digits", "hostile"])
def test_console_is_silent_nothing_is_fetched_nothing_is_too_wide(page, width, height, browser, request):
    html = request.getfixturevalue(page)
    browser.open(html, width=width, height=height)
    browser('document.querySelectorAll("details").forEach((d) => (d.open = true))')
    assert browser.errors() == []
    assert browser.requests() == [html.as_uri()]
    assert browser(TOO_WIDE) == []
    assert browser("return document.documentElement.scrollWidth") <= width
    assert browser("return window.hacked") is None


def test_panel_of_hostile_text_fits_a_phone_and_shows_it_as_text(browser, hostile):
    for place in range(len(HOSTILE)):
        browser.open(hostile, f"#sample={place}", width=390, height=844) if place == 0 else browser(
            f"location.hash = 'sample={place}'"
        )
        shown = HOSTILE[place].replace("\x00", "␀")
        browser.wait(f"return document.querySelector('#panel-link').hash === '#sample={place}'")
        assert browser("return document.querySelector('#panel-title').textContent") == f"{shown}{place}"
        assert browser("return document.querySelector('#panel-input p').textContent") == shown
        assert browser("const p = document.querySelector('#panel'); return p.scrollWidth <= p.clientWidth")
        assert browser(TOO_WIDE) == []
    assert browser("return window.hacked") is None
    assert browser.errors() == []


def test_keyboard_goes_from_the_grid_to_the_panel_along_it_and_back(browser, digits):
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    browser.open(digits)
    for _ in range(40):
        browser.press(keys.TAB)
        if browser(f"return document.activeElement === document.querySelector('{SELECT_FIRST}')"):
            break
    browser.press(keys.ENTER)
    first, second = browser("return [...document.querySelectorAll('#first .card > a')].slice(0, 2).map((a) => a.hash)")
    assert browser("return [document.querySelector('#panel').open, document.activeElement.id, location.hash]") == [
        True, "panel-title", first,
    ]  # fmt: skip
    browser.press(keys.ARROW_RIGHT)
    assert browser("return location.hash") == second
    while browser("return document.activeElement.id") != "previous":
        browser.press(keys.SHIFT + keys.TAB)
    browser.press(keys.ENTER)
    assert browser("return location.hash") == first
    browser.press(keys.ARROW_RIGHT)
    browser.press(keys.ESCAPE)
    assert browser("return [document.querySelector('#panel').open, location.hash, document.activeElement.hash]") == [
        False, "", second,
    ]  # fmt: skip
    assert browser("return document.activeElement.closest('.grid').dataset.order") == "suspicious"
    assert browser.errors() == []


def test_the_name_of_a_score_leads_from_the_panel_to_what_explains_it(browser, digits):
    browser.open(digits)
    browser(f"document.querySelector('{SELECT_FIRST}').click()")
    browser.wait("return document.querySelector('#panel').open")
    name = browser("const a = document.querySelector('#panel-scores a'); a.click(); return a.textContent")
    browser.wait("return !document.querySelector('#panel').open && document.activeElement.id === 'distribution-0'")
    assert browser("return document.activeElement.querySelector('h3').textContent").startswith(name)
    assert browser.errors() == []


def test_every_control_can_have_the_focus(browser, digits):
    browser.open(digits)
    browser('document.querySelectorAll("details").forEach((d) => (d.open = true))')
    stuck = browser("""
      return [...document.querySelectorAll("a, button, input, summary")].filter((e) => {
        if (!e.checkVisibility() || e.disabled || e.closest("dialog")) return false;
        e.focus();
        return document.activeElement !== e;
      }).map((e) => e.outerHTML.slice(0, 100));
    """)
    assert stuck == []


def test_an_address_opens_its_sample_and_marks_it_in_every_distribution(browser, digits):
    browser.open(digits, "#sample=17")
    assert browser("return document.querySelector('#panel').open && document.querySelector('#panel-link').hash") == (
        "#sample=17"
    )
    marks = """return [...document.querySelectorAll('[id^="distribution-"] .chart')]
      .map((c) => c.querySelectorAll('.mark-symbol path').length)"""
    browser.wait(f"{marks[7:] and marks}.every((n) => n === 1)")
    assert browser(marks) == [1, 1, 1]


def test_a_pair_opens_its_samples_one_after_the_other(browser, digits):
    browser.open(digits)
    links = browser("return [...document.querySelectorAll('#bounds-pairs .card > a')].map((a) => a.hash)")
    assert len(links) == browser("return document.querySelectorAll('#bounds-pairs img[src^=\"data:\"]').length") == 24
    browser("document.querySelector('#bounds-pairs .card > a').click()")
    assert browser("return [location.hash, document.querySelector('#place').textContent]") == [
        links[0], "1 of 24 in these pairs",
    ]  # fmt: skip
    browser("document.querySelector('#next').click()")
    assert browser("return location.hash") == links[1]


def test_an_address_of_no_sample_says_so(browser, digits):
    browser.open(digits, "#sample=999")
    assert "Sample 999 is not among the 400" in browser("return document.querySelector('#notice').textContent")


def test_flags_are_downloaded_as_csv(browser, hostile, folder):
    browser.open(hostile)
    browser("location.hash = 'sample=7'")
    browser.wait("return document.querySelector('#panel').open")
    browser("document.querySelector('#panel-flag').click(); document.querySelector('#close').click()")
    browser("document.querySelector('#download').click()")
    file = folder / "flagged.csv"
    until = time.monotonic() + 10
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    header, row = file.read_text(encoding="utf-8-sig").splitlines()
    assert header.startswith("index,id,label,suggested_label,unique_information_weights,")
    assert row.startswith("7,'=HYPERLINK(1)7,")  # no formula for a spreadsheet
    assert browser.errors() == []


def test_typed_ranges_select_samples(browser, digits):
    browser.open(digits)
    residual = digits_run().table["own_residual"].values
    browser("""
      const input = document.querySelector('[data-brush="scatter-1-2"] [name="y0"]');
      input.value = 1.1; input.dispatchEvent(new Event("input", { bubbles: true }));
    """)
    expected = int((residual >= 1.1).sum())
    text = browser("""return document.querySelector('[data-brush="scatter-1-2"] .selection').textContent""")
    assert text.startswith(f"{expected} samples selected")


def test_a_drag_over_the_chart_selects_samples(browser, digits):
    actions = pytest.importorskip("selenium.webdriver").ActionChains
    browser.open(digits)
    chart = browser("""const c = document.querySelector('[data-chart="scatter-1-2"] svg');
      c.scrollIntoView({ block: "center" }); return c""")
    pull = actions(browser.driver).move_to_element_with_offset(chart, -150, -100).click_and_hold()
    pull.move_by_offset(250, 180).release().perform()
    selection = """document.querySelector('[data-brush="scatter-1-2"] .selection').textContent"""
    browser.wait(f"return /^\\d+ samples selected/.test({selection})")
    assert browser.errors() == []


def test_numbers_in_the_browser_are_those_of_python(browser, folder):
    values = [0, 0.5, 1, 1.125, -1.125, 9.995, 1234.5, 999600, 123456, 1.23456e-4, 1.23456e-5, -2.5e-300, 7.2e12, 1e6]
    source = pathlib.Path(__file__).parents[2] / "infotorch/report/numbers.js"
    browser.driver.get("about:blank")
    texts = browser(source.read_text() + "; return arguments[0].map((x) => number(x));", values)
    assert texts == [number(x) for x in values]


@SCHEMES
def test_text_stands_out_from_the_page_in_both_schemes(scheme, browser, digits):
    """WCAG AA: 4.5 for text, 3 for the marks of charts that carry meaning."""
    browser.scheme(scheme)
    browser.open(digits)
    colors = browser("""
      const style = getComputedStyle(document.documentElement);
      const context = document.createElement("canvas").getContext("2d");
      return Object.fromEntries(["paper", "sunk", "ink", "ink-2", "accent", "on-accent"].map((name) => {
        context.fillStyle = style.getPropertyValue(`--${name}`).trim(); context.fillRect(0, 0, 1, 1);
        return [name, [...context.getImageData(0, 0, 1, 1).data].slice(0, 3)];
      }));
    """)

    def luminance(rgb):
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a, b):
        high, low = sorted((luminance(colors[a]), luminance(colors[b])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for text, ground in [("ink", "paper"), ("ink-2", "paper"), ("accent", "paper"), ("ink", "sunk"), ("ink-2", "sunk"),
                         ("on-accent", "accent")]:  # fmt: skip
        assert contrast(text, ground) >= 4.5, (text, ground)
    assert (luminance(colors["paper"]) < 0.05) == (scheme == "dark")
    axis = browser("return getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill")
    assert axis == "rgb({}, {}, {})".format(*colors["ink-2"])
    browser.scheme("light")


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1280, 900), ("dark", 390, 844)])
def test_axe_finds_no_serious_violation(scheme, width, height, browser, digits):
    script = os.environ.get("INFOTORCH_AXE")
    if not script or not pathlib.Path(script).is_file():
        pytest.skip("no axe-core: INFOTORCH_AXE names no file")
    browser.scheme(scheme)
    browser.open(digits, width=width, height=height)
    browser(pathlib.Path(script).read_text())
    for state in ("", "document.querySelector('#first .card > a').click()"):
        browser(state or "document.querySelectorAll('details').forEach((d) => (d.open = true))")
        found = browser.driver.execute_async_script("axe.run(document).then(arguments[0])")
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert not serious, [(v["id"], [node["html"][:150] for node in v["nodes"][:3]]) for v in serious]
        assert len(found["passes"]) > 10
    browser.scheme("light")


def test_two_thousand_samples_with_pictures_open_within_a_second(browser, large):
    """The best of three, so that a busy machine does not decide."""
    took = []
    for _ in range(3):
        browser.driver.get("about:blank")
        browser.driver.get(large.as_uri())
        took.append(browser("const [t] = performance.getEntriesByType('navigation'); return t.loadEventEnd"))
        assert browser("return document.querySelectorAll('#first img[src^=\"data:\"]').length") > 20
    assert min(took) < 1000, took


def test_print_holds_every_chart(browser, digits):
    browser.open(digits)
    pdf = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and 3 <= pdf.count(b"/Type /Page\n") <= 25
    assert browser.errors() == []
