#!/usr/bin/env python3
"""Holds a report's page to what it promises, in a real browser.

    scripts/browser/page.py report.html [more.html …] [--pictures FOLDER]

It loads each page, uses it by mouse and keyboard, prints it, looks at it at several widths, and ends with an error if anything
is not as it should be. Pictures of the pages, wide, on a phone and dark, and the PDF go to FOLDER. Pages that compare runs have
fewer sections; what a page does not have is not checked. Without a browser it says `skipped: …` and ends well.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import sys
import tempfile
import time
import xml.etree.ElementTree as xml

from chrome import Browser, Failed, find

PHONE, FINGER = 360, 40
# A4 without margins of 14 mm, in CSS pixels.
PAPER = 688

# Elements that reach beyond the page, except inside boxes that scroll, and the labels that they show.
WIDER = """(() => {
  const limit = document.documentElement.clientWidth + 0.5, found = [];
  if (document.documentElement.scrollWidth > limit) found.push(`the page scrolls sideways: ${document.documentElement.scrollWidth}`);
  for (const node of document.querySelectorAll("body *")) {
    if (node.closest("dialog, #tip, .skip, script")) continue;
    const scroller = node.parentElement.closest(".scroll, pre, .subjects");
    if (scroller && %s) continue;
    const r = node.getBoundingClientRect();
    if (r.width && (r.right > limit || r.left < -0.5)) found.push(`${node.nodeName}.${node.getAttribute("class") ?? ""} ${r.left.toFixed()}-${r.right.toFixed()}: ${node.textContent.slice(0, 40)}`);
  }
  return found.slice(0, 8);
})()"""

# Texts and marks of charts that reach beyond their chart.
CUT = """(() => {
  const found = [];
  for (const chart of document.querySelectorAll("svg.chart")) {
    const box = chart.getBoundingClientRect();
    if (!box.width) continue;
    for (const text of chart.querySelectorAll("text, polygon, circle")) {
      const r = text.getBoundingClientRect();
      if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 2 || r.bottom > box.bottom + 2) found.push(`${text.textContent || text.nodeName} in ${chart.getAttribute("aria-label")}`);
    }
  }
  return found.slice(0, 8);
})()"""

# What fingers touch and is too small for them.
SMALL = """[...document.querySelectorAll("button, select, summary, nav a, input")].filter((node) => {
  const r = (node.matches(".switch input, .toggles input") ? node.parentElement : node).getBoundingClientRect();
  return r.width && !node.closest("dialog") && (r.height < %d - 0.5 || r.width < 24);
}).slice(0, 8).map((node) => `${node.nodeName}.${node.className} ${node.textContent.slice(0, 20)} ${JSON.stringify(node.getBoundingClientRect())}`)"""


def must(holds, what):
    if not holds:
        raise Failed(what)


class Page:
    """One page and the checks of it. Each check can fail by itself."""

    def __init__(self, browser, path, downloads, pictures):
        self.browser, self.path, self.downloads, self.pictures = browser, path, downloads, pictures
        self.failures = 0

    def has(self, selector):
        return self.browser.js(f"Boolean(document.querySelector({json.dumps(selector)})?.checkVisibility())")

    def text(self, selector):
        return self.browser.js(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")

    def quiet(self):
        """Nothing was complained about, and nothing was fetched."""
        must(not self.browser.complaints, f"the page complains: {self.browser.complaints}")
        asked = [url[:80] for url in self.browser.requests if not url.startswith(("data:", "blob:")) and url != self.url]
        must(not asked, f"the page asks for {asked}")

    def loads(self):
        self.browser.complaints.clear()
        self.browser.requests.clear()
        self.url = self.path.resolve().as_uri()
        self.browser.look(1280)
        self.browser.open(self.url)
        self.quiet()
        must(self.browser.js("!document.querySelector('.unscripted')"), "the plain table was not replaced")

    def names_are_unique(self):
        twice = self.browser.js("(() => { const ids = [...document.querySelectorAll('[id]')].map((n) => n.id); return ids.filter((id, i) => ids.indexOf(id) !== i); })()")
        must(not twice, f"names used twice: {twice}")
        lost = self.browser.js("[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href').slice(1)).filter((id) => !document.getElementById(id))")
        must(not lost, f"links to nowhere: {lost}")

    def keyboard(self):
        """Tab comes to the skip link, which leads to the results; the list of contents is next."""
        self.browser.js("document.activeElement?.blur(); scrollTo(0, 0)")
        self.browser.key("Tab")
        skip = self.browser.js("(() => { const a = document.activeElement, r = a.getBoundingClientRect(); return { class: a.className, top: r.top, outline: getComputedStyle(a).outlineStyle }; })()")
        must(skip["class"] == "skip" and skip["top"] >= 0, f"the first stop is no visible skip link: {skip}")
        self.browser.key("Tab")
        stop = self.browser.js("(() => { const a = document.activeElement; return { nav: Boolean(a.closest('nav')), outline: getComputedStyle(a).outlineStyle }; })()")
        must(stop["nav"] and stop["outline"] != "none", f"the second stop is not in the contents, or its focus is not seen: {stop}")
        self.browser.key("Tab")
        self.browser.key("Enter")
        self.browser.settle()
        at = self.browser.js("(() => { const t = document.querySelector(':target'), r = t?.getBoundingClientRect(); return { id: t?.id, top: r?.top, high: innerHeight }; })()")
        must(at["id"] and -1 <= at["top"] < at["high"], f"the contents lead nowhere: {at}")
        self.browser.key("Tab", shift=True)
        self.browser.js("location.hash = ''; scrollTo(0, 0)")

    def slider(self):
        """λ moves by keyboard, and what it says follows."""
        if not self.has("#lambda"):
            return
        before = self.text("#dial-said")
        way = "ArrowLeft" if self.browser.js("(document.getElementById('lambda').focus(), Number(document.getElementById('lambda').value) > 0.5)") else "ArrowRight"
        for _ in range(5):
            self.browser.key(way)
        after = self.text("#dial-said")
        must(before != after, f"λ was moved and the text stays: {after}")

    def choose(self, selector, index):
        """Takes an entry of a menu as a reader does."""
        self.browser.js(f"(() => {{ const s = document.querySelector({json.dumps(selector)}); s.selectedIndex = {index}; s.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()")

    def baseline(self):
        """Each row may be the one that others are compared with."""
        menu = "#against, #against-0"
        if not self.has(menu):
            return
        options = self.browser.js(f"document.querySelector('{menu}').options.length")
        seen = set()
        for i in range(options):
            self.choose(menu, i)
            seen.add(self.browser.js("[...document.querySelectorAll('.results, .full')].filter((t) => t.checkVisibility()).map((t) => t.textContent).join('|')"))
        must(len(seen) == options, f"{options} baselines make {len(seen)} different tables")
        self.choose(menu, 0)
        if options > 2:
            must("compared with" in self.text("figure .full ~ *, .full") or "Holm" in self.browser.js("document.querySelector('.full').closest('figure').textContent"), "the family of Holm's adjustment is not named")
        self.quiet()

    def metrics(self):
        """Columns may be left out."""
        if not self.has(".toggles input"):
            return
        heads = "document.querySelectorAll('.results thead th').length"
        before = self.browser.js(heads)
        self.browser.click("document.querySelector('.toggles input')")
        must(self.browser.js(heads) == before - 1, "a metric cannot be left out")
        self.browser.js("document.querySelector('.toggles input').click()")

    def subjects(self):
        """Another subject, arm and seed is drawn without complaint."""
        for selector in ("#arm", "#seed", "#seeds-shown"):
            if self.has(selector):
                last = self.browser.js(f"document.querySelector('{selector}').options.length") - 1
                before = self.browser.js("document.querySelector('main').innerHTML.length + document.querySelector('main').textContent")
                self.choose(selector, last)
                self.browser.settle()
                must(before != self.browser.js("document.querySelector('main').innerHTML.length + document.querySelector('main').textContent"), f"{selector} changes nothing")
                self.choose(selector, 0)
        if self.browser.js("document.querySelectorAll('.subjects button').length > 1"):
            names = "[...document.querySelectorAll('.current-name')].map((n) => n.textContent).join()"
            before = self.browser.js(names)
            self.browser.click("document.querySelectorAll('.subjects button')[1]")
            must(before != self.browser.js(names), "another subject changes nothing")
            self.browser.js("document.querySelectorAll('.subjects button')[0].click()")
        self.browser.settle()
        self.quiet()

    def saves(self):
        """Every button of every figure gives a file that can be read."""
        buttons = self.browser.js("[...document.querySelectorAll('.save')].map((b, i) => [i, b.textContent, b.getAttribute('aria-label'), b.checkVisibility()])")
        must(buttons or not self.has(".results"), "no figure can be saved")
        for index, kind, label, visible in buttons:
            if not visible:
                continue
            known, done = set(os.listdir(self.downloads)), len(self.browser.finished)
            # Chromium drops more than ten files a second.
            time.sleep(0.15)
            self.browser.click(f"document.querySelectorAll('.save')[{index}]")
            self.browser.until(label, lambda: len(self.browser.finished) > done)
            new = [name for name in set(os.listdir(self.downloads)) - known if not name.endswith(".crdownload")]
            must(len(new) == 1 and new[0].lower().endswith(kind.lower()), f"{label}: {new}")
            file = pathlib.Path(self.downloads) / new[0]
            text = file.read_text(encoding="utf-8")
            # Several runs on a page may have the same name.
            file.unlink()
            if kind == "CSV":
                lines = list(csv.reader(text.splitlines()))
                must(len(lines) > 1 and len({len(line) for line in lines}) == 1, f"{label}: lines of different lengths")
            else:
                self.drawing(label, text)
            if self.pictures:
                (self.pictures / new[0]).write_text(text, encoding="utf-8")
        self.quiet()

    @staticmethod
    def drawing(label, text):
        """A drawing stands by itself: nothing of the page's style or scripts is left in it."""
        try:
            root = xml.fromstring(text)
        except xml.ParseError as e:
            raise Failed(f"{label}: {e}") from None
        must(root.tag == "{http://www.w3.org/2000/svg}svg", f"{label}: no drawing")
        must(len(list(root.iter())) > 10, f"{label}: next to nothing is drawn")
        text = re.sub(r'"data:[^"]*"', '""', text)
        for word in ("var(--", "class=", "<script", "NaN", "undefined"):
            must(word not in text, f"{label}: {word} in it")

    def phone(self):
        self.browser.look(PHONE, 780, touch=True)
        self.browser.open(self.url)
        wider = self.browser.js(WIDER % "true")
        must(not wider, f"at {PHONE} px: {wider}")
        small = self.browser.js(SMALL % FINGER)
        must(not small, f"too small for fingers: {small}")
        self.widths()

    def widths(self):
        """No label of a chart is cut at any width."""
        for width in (320, PHONE, 480, 768, 1024, 1280, 1920):
            self.browser.look(width)
            cut = self.browser.js(CUT)
            must(not cut, f"cut at {width} px: {cut}")

    def printed(self):
        """On paper no table is cut, details are open and nothing is left to click."""
        self.browser.look(1280)
        self.browser.open(self.url)
        self.browser.look(PAPER)
        self.browser.call("Emulation.setEmulatedMedia", media="print", features=[])
        self.browser.js("dispatchEvent(new Event('beforeprint'))")
        self.browser.settle()
        wider = self.browser.js(WIDER % "false")
        must(not wider, f"wider than the paper: {wider}")
        must(self.browser.js("[...document.querySelectorAll('details')].every((d) => d.open)"), "details are closed on paper")
        left = self.browser.js("[...document.querySelectorAll('select, input, .save, nav a')].filter((n) => n.checkVisibility()).length")
        must(not left or self.browser.js("Boolean(document.querySelector('.runs'))"), f"{left} controls on paper")
        self.browser.call("Emulation.setEmulatedMedia", media="", features=[])
        folder = self.pictures or pathlib.Path(self.downloads)
        data = self.browser.paper(folder / f"{self.path.stem}.pdf")
        must(data.startswith(b"%PDF-") and len(data) > 10_000, "no PDF")

    def shots(self):
        if not self.pictures:
            return
        for name, look in (("wide", {"width": 1280}), ("dark", {"width": 1280, "dark": True}),
                           ("phone", {"width": PHONE, "height": 780, "touch": True}),
                           ("phone-dark", {"width": PHONE, "height": 780, "touch": True, "dark": True})):
            self.browser.look(**look)
            self.browser.open(self.url)
            self.browser.picture(self.pictures / f"{self.path.stem}-{name}.png")

    def without_script(self):
        """The table is there for readers without scripts."""
        if not self.has(".results"):
            return
        self.browser.look(1280)
        self.browser.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            self.browser.call("Page.reload")
            before = self.browser.loaded
            self.browser.until("the page without scripts", lambda: self.browser.loaded > before)
            document = self.browser.call("DOM.getDocument")["root"]["nodeId"]
            found = self.browser.call("DOM.querySelectorAll", nodeId=document, selector=".unscripted tbody tr")["nodeIds"]
            must(found, "no table without scripts")
            for section in self.browser.call("DOM.querySelectorAll", nodeId=document, selector=".needs-trajectory")["nodeIds"]:
                try:
                    self.browser.call("DOM.getBoxModel", nodeId=section)
                except Failed:
                    continue
                raise Failed("a section is empty without scripts")
            if self.pictures:
                self.browser.picture(self.pictures / f"{self.path.stem}-without-script.png")
        finally:
            self.browser.call("Emulation.setScriptExecutionDisabled", value=False)

    def all(self):
        for check in (self.loads, self.names_are_unique, self.keyboard, self.slider, self.baseline, self.metrics, self.subjects,
                      self.saves, self.phone, self.printed, self.shots, self.quiet, self.without_script):
            try:
                check()
            except Failed as e:
                self.failures += 1
                print(f"FAILED: {self.path.name}, {check.__name__}: {e}", file=sys.stderr)
        if not self.failures:
            print(f"{self.path.name}: as it should be")
        return self.failures


def main():
    parser = argparse.ArgumentParser(description="Checks report pages in a headless browser.")
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path, help="folder for pictures, drawings and the PDF")
    given = parser.parse_args()
    path = find()
    if path is None:
        print("skipped: no Chromium is installed, the page was not opened in a browser")
        return 0
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    failures = 0
    for page in given.pages:
        with tempfile.TemporaryDirectory() as downloads:
            browser = Browser(path, downloads)
            try:
                failures += Page(browser, page, downloads, given.pictures).all()
            finally:
                browser.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
