// Elements, numbers and charts. Text goes in as text nodes only, so that no name can become markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const MINUS = "\u2212";
const SHAPES = ["circle", "square", "triangle", "diamond", "down", "cross"];

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

function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}
const signed = (value, digits = 3) =>
  value === null || value === undefined || !Number.isFinite(value) ? "–"
    : (value > 0 && Number(value.toFixed(digits)) !== 0 ? "+" : "") + number(value, digits);
const interval = (pair, digits = 3, write = number) =>
  pair ? `[${write(pair[0], digits)}, ${write(pair[1], digits)}]` : "";

// Round steps of 1, 2, 2.5 or 5 times a power of ten.
function niceTicks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(k * step);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0));
  return { ticks, digits: Math.min(digits, 8) };
}

// Ticks at multiples of `every` (validations happen there), as many as there is room for.
function ticksAt(limit, every, width) {
  if (!every) return niceTicks(0, limit, Math.max(2, width / 70)).ticks;
  const stride = every * Math.max(1, Math.ceil((limit / every) * 46 / width));
  return Array.from({ length: Math.floor(limit / stride) + 1 }, (_, i) => i * stride);
}

// A mark that tells rules apart without colour.
function shape(kind, x, y, r, attributes) {
  const at = (points) => points.map(([a, b]) => `${(x + a * r).toFixed(1)},${(y + b * r).toFixed(1)}`).join(" ");
  const polygon = (points) => svg("polygon", { points: at(points), ...attributes });
  if (kind === "square") return polygon([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]]);
  if (kind === "triangle") return polygon([[0, -1.15], [1.1, 0.85], [-1.1, 0.85]]);
  if (kind === "down") return polygon([[0, 1.15], [1.1, -0.85], [-1.1, -0.85]]);
  if (kind === "diamond") return polygon([[0, -1.3], [1.15, 0], [0, 1.3], [-1.15, 0]]);
  if (kind === "cross") {
    const a = 0.4;
    return polygon([[-a, -1.1], [a, -1.1], [a, -a], [1.1, -a], [1.1, a], [a, a], [a, 1.1], [-a, 1.1], [-a, a], [-1.1, a], [-1.1, -a], [-a, -a]]);
  }
  return svg("circle", { cx: x, cy: y, r, ...attributes });
}
const glyph = (kind, color, title) =>
  svg("svg", { class: "glyph", viewBox: "0 0 14 14", width: 14, height: 14, role: "img", "aria-label": title || null, "aria-hidden": title ? null : "true" },
    title ? svg("title", {}, title) : null,
    shape(kind, 7, 7, 5, { style: `fill:${color}` }));

// One floating note for the whole page.
const tip = {
  show(lines, x, y) {
    const box = document.getElementById("tip");
    box.replaceChildren(...lines.map((line) => (line.nodeType ? line : el("div", {}, line))));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
    box.style.top = `${y + 18 + height > innerHeight ? Math.max(8, y - height - 12) : y + 18}px`;
  },
  hide() { document.getElementById("tip").hidden = true; },
  on(node, lines) {
    const show = (e) => tip.show(lines(), e.clientX ?? node.getBoundingClientRect().left, e.clientY ?? node.getBoundingClientRect().bottom - 14);
    node.addEventListener("pointerenter", show);
    node.addEventListener("pointermove", show);
    node.addEventListener("focus", () => { const r = node.getBoundingClientRect(); tip.show(lines(), r.left, r.bottom - 14); });
    for (const out of ["pointerleave", "blur"]) node.addEventListener(out, tip.hide);
    return node;
  },
};

// Draws at the width there is, and again when that changes.
const drawings = new WeakMap();
const resized = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const drawing = drawings.get(target);
    if (drawing && Math.abs(contentRect.width - drawing.width) > 0.5 && contentRect.width > 0) paint(target);
  }
});
function paint(box) {
  const drawing = drawings.get(box);
  drawing.width = box.clientWidth;
  box.replaceChildren(drawing.draw(Math.max(240, Math.floor(drawing.width || 640))));
}
function mount(box, draw) {
  const known = drawings.has(box);
  drawings.set(box, { draw, width: 0 });
  paint(box);
  if (!known) resized.observe(box);
}

// Diagonal lines: nothing was measured here.
let hatches = 0;
function hatch(x, y, width, height, label) {
  const id = `hatch-${hatches++}`;
  return svg("g", {},
    svg("pattern", { id, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" })),
    svg("rect", { x, y, width: Math.max(0, width), height, fill: `url(#${id})` }),
    label && width > 84 ? svg("text", { x: x + width / 2, y: y + height / 2, class: "label halo", "text-anchor": "middle" }, label) : null);
}

function flags(list, x, top, foot, room) {
  const groups = new Map();
  for (const flag of list) groups.set(flag.x, [...(groups.get(flag.x) || []), flag]);
  return [...groups].map(([at, group]) => svg("g", {},
    group.some((f) => !f.stop) ? svg("line", { x1: x(at), x2: x(at), y1: top, y2: foot, class: "flag" }) : null,
    group.map((f, k) => {
      const px = x(at) + (k - (group.length - 1) / 2) * Math.min(11, room / group.length);
      return f.stop ? svg("line", { x1: px, x2: px, y1: foot - 13, y2: foot - 2, class: "stop", style: `stroke:${f.color}` })
        : shape(f.shape, px, foot - 9, 4.6, { class: "mark", style: `fill:${f.color}` });
    })));
}

// A line chart. `series`: {label, color, points: [{x, y, low, high}], faint}; `every`: distance of ticks;
// `marks`: {x, y, shape, color};
// `bars`: {x, y, color}, short upright lines; `flags`: the same at the foot of the chart, several at one x
// side by side, with `stop` for a bar instead of a shape; `hatched`: [from, to, label]; `lines(x)`: the note at x.
function lineChart(box, spec) {
  mount(box, (width) => {
    const height = spec.height || 220;
    const margin = { left: 50, right: 14, top: 12, bottom: 36 };
    const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
    const values = spec.series.flatMap((s) => s.points.flatMap((p) => [p.y, p.low, p.high])).filter(Number.isFinite);
    let low = Math.min(...values), high = Math.max(...values);
    if (!values.length) [low, high] = [0, 1];
    const pad = (high - low) * 0.08 || Math.abs(high) * 0.02 || 0.01;
    // Flags need room at the foot.
    [low, high] = [low - pad * (spec.flags ? 2.5 : 1), high + pad];
    const x = (v) => margin.left + ((v - spec.x[0]) / (spec.x[1] - spec.x[0] || 1)) * inner.width;
    const y = (v) => margin.top + (1 - (v - low) / (high - low)) * inner.height;
    const { ticks, digits } = niceTicks(low, high, inner.height / 36);
    const stepTicks = ticksAt(spec.x[1], spec.every, inner.width);

    const path = (points) => points.filter((p) => Number.isFinite(p.y)).map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)},${y(p.y).toFixed(1)}`).join("");
    const band = (points) => {
      const p = points.filter((q) => Number.isFinite(q.low));
      return p.length < 2 ? null : `M${p.map((q) => `${x(q.x).toFixed(1)},${y(q.high).toFixed(1)}`).join("L")}L${p.reverse().map((q) => `${x(q.x).toFixed(1)},${y(q.low).toFixed(1)}`).join("L")}Z`;
    };
    const guide = svg("line", { y1: margin.top, y2: margin.top + inner.height, class: "guide", visibility: "hidden" });
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": spec.label, tabindex: 0, class: "chart" },
      ticks.map((t) => svg("g", {},
        svg("line", { x1: margin.left, x2: width - margin.right, y1: y(t), y2: y(t), class: "grid" }),
        svg("text", { x: margin.left - 8, y: y(t), dy: "0.32em", "text-anchor": "end", class: "label" }, number(t, digits)))),
      stepTicks.map((t) => svg("text", { x: x(t), y: height - margin.bottom + 18, "text-anchor": "middle", class: "label" }, t)),
      svg("text", { x: width - margin.right, y: height - 3, "text-anchor": "end", class: "label quiet" }, spec.xLabel || "step"),
      spec.hatched && spec.hatched[1] > spec.hatched[0]
        ? hatch(x(spec.hatched[0]), margin.top, x(spec.hatched[1]) - x(spec.hatched[0]), inner.height, spec.hatched[2]) : null,
      svg("line", { x1: margin.left, x2: width - margin.right, y1: margin.top + inner.height, y2: margin.top + inner.height, class: "axis" }),
      spec.series.map((s) => s.points.some((p) => Number.isFinite(p.low)) ? svg("path", { d: band(s.points), class: "band", style: `fill:${s.color}` }) : null),
      guide,
      spec.series.map((s) => svg("path", { d: path(s.points), class: s.raw ? "raw" : s.faint ? "line faint" : "line", style: `stroke:${s.color}` })),
      spec.dots ? spec.series.map((s) => s.points.map((p) => Number.isFinite(p.y) ? svg("circle", { cx: x(p.x), cy: y(p.y), r: 2.2, class: s.faint ? "dot faint" : "dot", style: `fill:${s.color}` }) : null)) : null,
      flags(spec.flags || [], x, margin.top, margin.top + inner.height, spec.every ? 0.85 * (x(spec.every) - x(0)) : 99),
      (spec.bars || []).map((b) => svg("line", { x1: x(b.x), x2: x(b.x), y1: y(b.y) - 9, y2: y(b.y) + 9, class: "stop", style: `stroke:${b.color}` })),
      (spec.marks || []).map((m) => shape(m.shape, x(m.x), y(m.y), 6, { class: "mark", style: `fill:${m.color}` })));

    const xs = [...new Set(spec.series.flatMap((s) => s.points.map((p) => p.x)))].sort((a, b) => a - b);
    let at = 0;
    const point = (value, clientX, clientY) => {
      guide.setAttribute("x1", x(value)); guide.setAttribute("x2", x(value)); guide.setAttribute("visibility", "visible");
      tip.show(spec.lines(value), clientX, clientY);
    };
    const hide = () => { guide.setAttribute("visibility", "hidden"); tip.hide(); };
    if (spec.lines && xs.length) {
      chart.addEventListener("pointermove", (e) => {
        const r = chart.getBoundingClientRect();
        const px = (e.clientX - r.left) * (width / r.width);
        at = xs.reduce((best, v, i) => (Math.abs(x(v) - px) < Math.abs(x(xs[best]) - px) ? i : best), 0);
        point(xs[at], e.clientX, e.clientY);
      });
      chart.addEventListener("keydown", (e) => {
        const move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
        if (!move) return;
        e.preventDefault();
        at = Math.max(0, Math.min(xs.length - 1, at + move));
        const r = chart.getBoundingClientRect();
        point(xs[at], r.left + (x(xs[at]) * r.width) / width, r.top + 20);
      });
      chart.addEventListener("pointerleave", hide);
      chart.addEventListener("blur", hide);
    }
    return chart;
  });
}
