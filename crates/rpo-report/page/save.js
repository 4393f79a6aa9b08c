// Figures and tables as files: SVG as drawn on the page, CSV of the numbers.
"use strict";

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
const fileName = (...parts) => parts.filter(Boolean).join("-").replace(/[^\p{L}\p{N}._-]+/gu, "_");

const csv = (lines) => lines.map((line) => line.map((value) => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\r\n") + "\r\n";

// Styles that SVG knows, with the values that need not be written.
const STYLES = Object.entries({
  fill: "rgb(0, 0, 0)", "fill-opacity": "1", stroke: "none", "stroke-width": "1px", "stroke-dasharray": "none", "stroke-linecap": "butt",
  "stroke-linejoin": "miter", opacity: "1", "font-family": "", "font-size": "", "font-weight": "400", "font-style": "normal",
  "text-anchor": "start", "paint-order": "normal",
});
function styleOf(node) {
  const style = getComputedStyle(node), text = node.nodeName === "text";
  return STYLES.filter(([key, usual]) => (text || !key.startsWith("font")) && style.getPropertyValue(key) !== usual)
    .map(([key]) => `${key}:${style.getPropertyValue(key)}`).join(";");
}

// A drawing without anything that only the page understands.
function drawn(source, attributes) {
  const copy = source.cloneNode(true);
  const from = [source, ...source.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((node, i) => {
    for (const name of ["class", "tabindex", "role", "aria-label", "aria-hidden"]) to[i].removeAttribute(name);
    to[i].style.cssText = "";
    if (to[i].getAttribute("visibility") === "hidden" || getComputedStyle(node).fill === "rgba(0, 0, 0, 0)") return to[i].remove();
    to[i].setAttribute("style", styleOf(node));
    if (!to[i].getAttribute("style")) to[i].removeAttribute("style");
  });
  return fill(copy, attributes, []);
}

// The lines of a text where they stand.
function linesOf(node) {
  const range = document.createRange(), lines = [];
  for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
    range.setStart(node, index);
    range.setEnd(node, index + word.length);
    const rect = range.getBoundingClientRect(), last = lines.at(-1);
    if (!rect.width) continue;
    if (last && Math.abs(last.top - rect.top) < 3) last.text += ` ${word}`;
    else lines.push({ text: word, left: rect.left, top: rect.top, bottom: rect.bottom });
  }
  return lines;
}

// Everything visible below `node`: drawings, pictures and text, in the coordinates of the window.
function parts(node, put) {
  if (node.nodeType === Node.TEXT_NODE) {
    const style = getComputedStyle(node.parentElement);
    const look = { fill: style.color, "font-family": style.fontFamily, "font-size": style.fontSize, "font-weight": style.fontWeight, "font-style": style.fontStyle };
    return linesOf(node).forEach((l) => put({ left: l.left, top: l.top, right: l.left + l.text.length * 5, bottom: l.bottom },
      (x, y) => svg("text", { x, y: y + (l.bottom - l.top) / 2, dy: "0.34em", style: Object.entries(look).map((s) => s.join(":")).join(";") }, l.text)));
  }
  if (node.nodeType !== Node.ELEMENT_NODE || node.matches(".tools, .controls, .more, select, fieldset")) return;
  if (getComputedStyle(node).display === "none") return;
  const rect = node.getBoundingClientRect(), size = { width: rect.width, height: rect.height };
  // A line below each row of a table, as on the page; rows of pictures need none.
  if (node.nodeName === "TR" && !node.closest(".samples")) put(rect, (x, y) => svg("line", { x1: x, x2: x + rect.width, y1: y + rect.height, y2: y + rect.height, stroke: "#e6e4de" }));
  if (node.nodeName === "svg") return put(rect, (x, y) => drawn(node, { x, y, ...size }));
  if (node.nodeName === "IMG") return put(rect, (x, y) => svg("image", { x, y, ...size, href: node.src, preserveAspectRatio: "xMidYMid slice" }));
  if (node.matches(".hatched")) return put(rect, (x, y) => svg("rect", { x, y, ...size, fill: "none", stroke: getComputedStyle(node).borderColor, "stroke-dasharray": "3 3" }));
  for (const child of node.childNodes) parts(child, put);
}

// The figure as it stands on the page, always on a light ground, as paper needs it.
function figureSvg(figure, source) {
  const root = document.documentElement, scrolled = [...figure.querySelectorAll(".scroll")].map((s) => [s, s.scrollLeft]);
  const list = [];
  root.classList.add("light");
  scrolled.forEach(([s]) => { s.scrollLeft = 0; });
  try {
    const box = figure.getBoundingClientRect();
    parts(figure, (rect, draw) => list.push([rect, draw]));
    // What is only for readers of the page is left out, so the drawing may begin below the figure's head.
    const all = (side) => list.map(([rect]) => rect[side]);
    const top = all("top").reduce((a, b) => Math.min(a, b), Infinity), right = all("right").reduce((a, b) => Math.max(a, b), box.right);
    const bottom = all("bottom").reduce((a, b) => Math.max(a, b), top);
    const width = Math.ceil(right - box.left + 24), height = Math.ceil(bottom - top + 44);
    const whole = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` },
      svg("title", {}, document.title), svg("rect", { width, height, fill: "#fff" }),
      list.map(([rect, draw]) => draw(rect.left - box.left + 12, rect.top - top + 12)),
      svg("text", { x: 12, y: height - 10, style: `fill:#777;font:11px ${getComputedStyle(document.body).fontFamily}` }, source));
    return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(whole)}\n`;
  } finally {
    root.classList.remove("light");
    scrolled.forEach(([s, left]) => { s.scrollLeft = left; });
  }
}

// Where a figure is from, written below it.
const sourceOf = (figure, run) => [run, figure.closest("section")?.querySelector(".current-name")?.textContent].filter(Boolean).join(" · ");

// The buttons of a figure; `table()`: the lines of its CSV, if it has one.
function saveButtons(figure, run, name, table) {
  const save = (what, hint, write) => el("button", { type: "button", class: "save", "aria-label": `Save as ${what}: ${hint}`, onclick: write }, what);
  const title = figure.querySelector("h3, h4")?.textContent ?? name;
  const tools = el("div", { class: "tools", role: "group", "aria-label": "Save" },
    save("SVG", title, () => download(fileName(run, name) + ".svg", "image/svg+xml", figureSvg(figure, sourceOf(figure, run)))),
    table ? save("CSV", title, () => download(fileName(run, name) + ".csv", "text/csv", csv(table()))) : null);
  figure.querySelector(":scope > .tools")?.remove();
  figure.prepend(tools);
}
