"""A headless Chromium, driven by the Chrome DevTools Protocol over its pipe: no port, and nothing but the standard library."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find():
    """The path of a browser, or None. CHROMIUM names another one."""
    return next((path for path in map(shutil.which, filter(None, (os.environ.get("CHROMIUM"), *NAMES))) if path), None)


class Failed(Exception):
    """The page did not do what it should."""


class Browser:
    """One browser with one page; what the page complains about and asks for is collected."""

    def __init__(self, path, downloads):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self.write_end = os.pipe()
        self.read_end, from_browser = os.pipe()
        # The browser reads descriptor 3 and writes descriptor 4.
        start = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
                   "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
                   f"--user-data-dir={self.profile.name}", "--remote-debugging-pipe", "about:blank")
        self.process = subprocess.Popen(
            ["bash", "-c", start, "bash", str(to_browser), str(from_browser), path, *options],
            pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.waiting, self.number, self.session = b"", 0, None
        self.complaints, self.requests, self.loaded, self.finished = [], [], 0, []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setDownloadBehavior", behavior="allow", downloadPath=downloads)

    def close(self):
        """Ends the browser."""
        self.session = None
        try:
            self.call("Browser.close")
            self.process.wait(10)
        except (Failed, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)
        self.profile.cleanup()

    def call(self, method, **parameters):
        """Sends a command and waits for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write_end, data):]
        while True:
            answer = self.message(60)
            if answer is None:
                raise Failed(f"{method}: no answer")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise Failed(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def message(self, patience):
        """The next message, whose news is kept; None if there is none for so many seconds."""
        while b"\0" not in self.waiting:
            if not select.select([self.read_end], [], [], patience)[0]:
                return None
            more = os.read(self.read_end, 1 << 20)
            if not more:
                raise Failed("the browser ended")
            self.waiting += more
        first, self.waiting = self.waiting.split(b"\0", 1)
        message = json.loads(first)
        self.note(message.get("method"), message.get("params", {}))
        return message

    def note(self, method, news):
        if method == "Runtime.exceptionThrown":
            details = news["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and news["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("value", a.get("description"))) for a in news["args"]))
        elif method == "Log.entryAdded" and news["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{news['entry']['text']} {news['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(news["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loaded += 1
        elif method == "Page.downloadProgress" and news["state"] == "completed":
            self.finished.append(news["guid"])

    def until(self, what, holds, seconds=30):
        """Waits until something holds."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise Failed(f"waited in vain for {what}")
            self.message(0.05)

    def open(self, url):
        before = self.loaded
        self.call("Page.navigate", url=url)
        self.until("the page", lambda: self.loaded > before)
        self.settle()

    def settle(self):
        """Lets the page draw: charts follow the width there is."""
        self.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))")

    def js(self, expression):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise Failed(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def click(self, expression):
        """Presses the mouse on the element that an expression gives; what covers it would get the click."""
        at = self.js(f"(() => {{ const node = {expression}; node.scrollIntoView({{ block: 'center' }}); const r = node.getBoundingClientRect(), x = r.left + r.width / 2, y = r.top + r.height / 2;"
                     " return { x, y, hit: node.contains(document.elementFromPoint(x, y)) }; })()")
        if not at["hit"]:
            raise Failed(f"{expression} is covered")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=at["x"], y=at["y"], button="left", clickCount=1)

    def key(self, key, code=None, text=None, shift=False):
        """Presses a key."""
        known = {"Tab": 9, "Enter": 13, "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, " ": 32}
        common = {"key": key, "code": code or key, "windowsVirtualKeyCode": known.get(key, 0), "modifiers": 8 if shift else 0}
        text = {"Enter": "\r", " ": " "}.get(key, text)
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def look(self, width, height=900, dark=False, touch=False):
        """Sets the size of the window and the preferred colours."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.settle()

    def picture(self, path):
        """The whole page as PNG, as far as a picture reaches."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))

    def paper(self, path):
        """The page as PDF, A4."""
        printed = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=False, printBackground=True)
        data = base64.b64decode(printed["data"])
        with open(path, "wb") as file:
            file.write(data)
        return data
