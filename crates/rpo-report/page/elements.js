// Elements, numbers and menus. Text goes in as text nodes only, so that no name can become markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const MINUS = "\u2212";
const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "style") node.style.cssText = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child.nodeType ? child : document.createTextNode(String(child)));
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
function number(value, digits = 3) {
  if (!known(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}
const signed = (value, digits = 3) =>
  !known(value) ? "–" : (value > 0 && Number(value.toFixed(digits)) !== 0 ? "+" : "") + number(value, digits);
const interval = (pair, digits = 3, write = number) =>
  pair ? `[${write(pair[0], digits)}, ${write(pair[1], digits)}]` : "";
const probability = (p) => (!known(p) ? "–" : p < 0.001 ? "< 0.001" : number(p));
const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
// "6 of 17 prompts"; "all 6 prompts" where nothing is left out.
function partOf(n, all, what) {
  if (all && n < all) return `${n} of ${count(all, what)}`;
  return n === 1 ? `1 ${what}` : n === 2 ? `both ${what}s` : `all ${count(n, what)}`;
}

// The width of a text of a chart, in pixels.
let pen = null;
function textWidth(text, weight = 400) {
  pen ??= document.createElement("canvas").getContext("2d");
  pen.font = `${weight} 12px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(String(text)).width;
}
// A text that is shortened, visibly, where it has no room.
function fit(text, room, weight) {
  if (textWidth(text, weight) <= room) return text;
  let end = text.length;
  while (end > 1 && textWidth(`${text.slice(0, end)}…`, weight) > room) end--;
  return `${text.slice(0, end).trimEnd()}…`;
}

// A labelled menu; `options`: [value, text, group].
function menu(label, options, value, choose, attributes) {
  const groups = new Map();
  for (const option of options) groups.set(option[2] ?? "", [...(groups.get(option[2] ?? "") || []), option]);
  const flat = [...groups.values()].flat();
  const select = el("select", { ...attributes, onchange: () => choose(flat[select.selectedIndex][0]) },
    [...groups].map(([name, list]) => {
      const items = list.map(([v, text]) => el("option", { value: String(v), selected: v === value }, text));
      return name ? el("optgroup", { label: name }, items) : items;
    }));
  return el("label", { class: "menu" }, el("span", {}, label), select);
}

// Several that may be on at once; the last one stays on.
function toggles(legend, options, chosen, changed) {
  return el("fieldset", { class: "toggles" }, el("legend", {}, legend), el("div", {}, options.map(([value, text]) => {
    const input = el("input", { type: "checkbox", checked: chosen.has(value), onchange: () => {
      if (input.checked) chosen.add(value); else if (chosen.size > 1) chosen.delete(value); else input.checked = true;
      changed();
    } });
    return el("label", {}, input, el("span", {}, text));
  })));
}

// One floating note for the whole page.
const tip = {
  show(lines, x, y) {
    const box = byId("tip");
    box.replaceChildren(...lines.filter(Boolean).map((line) => (line.nodeType ? line : el("div", {}, line))));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
    box.style.top = `${y + 18 + height > innerHeight ? Math.max(8, y - height - 12) : y + 18}px`;
  },
  hide() { byId("tip").hidden = true; },
  on(node, lines) {
    const show = (e) => tip.show(lines(), e.clientX ?? node.getBoundingClientRect().left, e.clientY ?? node.getBoundingClientRect().bottom - 14);
    node.addEventListener("pointerenter", show);
    node.addEventListener("pointermove", show);
    node.addEventListener("focus", () => { const r = node.getBoundingClientRect(); tip.show(lines(), r.left, r.bottom - 14); });
    for (const out of ["pointerleave", "blur"]) node.addEventListener(out, tip.hide);
    return node;
  },
};
addEventListener("keydown", (e) => { if (e.key === "Escape") tip.hide(); });

// A box for what may be wider than the page; the keyboard reaches it, so that it can be scrolled.
const scrolling = (label, ...children) => el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, children);
