// What all charts share: ticks, marks, and drawing at the width there is.
"use strict";

const SHAPES = ["circle", "square", "triangle", "diamond", "down", "cross"];

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

// The ends of an axis around values, and its ticks. Differences that are only rounding make no scale.
function valueAxis(values, count, pad = 0) {
  const finite = values.filter(Number.isFinite);
  let low = Math.min(...finite), high = Math.max(...finite);
  if (!finite.length) [low, high] = [0, 1];
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low <= 1e-9 * size) [low, high] = [low - 0.02 * (size || 1), high + 0.02 * (size || 1)];
  const more = (high - low) * pad;
  [low, high] = [low - more, high + more];
  const { ticks, digits } = niceTicks(low, high, count);
  const labels = ticks.map((t) => number(t, digits));
  return { low, high, ticks, labels, room: Math.ceil(Math.max(0, ...labels.map((l) => textWidth(l)))) };
}

// Ticks at multiples of `every` (validations happen there), as many as there is room for.
function ticksAt(limit, every, width) {
  const each = textWidth(limit) + 18;
  if (!every) {
    const { ticks } = niceTicks(0, limit, Math.max(1, width / (2 * each)));
    return ticks.filter(Number.isInteger);
  }
  const stride = every * Math.max(1, Math.ceil((limit / every) * each / width));
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

const ruleColor = (i, rule) => (rule && rule.kind === "last" ? "var(--muted)" : `var(--rule-${Math.max(0, i) % 6})`);
const ruleShape = (i, rule) => (rule && rule.kind === "last" ? "cross" : SHAPES[Math.max(0, i) % 5]);
const ruleGlyph = (rules, i, title) => glyph(ruleShape(i, rules[i]), ruleColor(i, rules[i]), title);
const legend = (data, kinds) => el("div", { class: "legend" }, data.rules.map((r, i) =>
  kinds && !kinds.includes(r.kind) ? null : el("span", {}, ruleGlyph(data.rules, i), r.label)));

// How a row of the test table is drawn, wherever it appears.
function rowLook(row, rules) {
  const i = rules.findIndex((r) => r.id === row.rule);
  if (i >= 0) return { color: ruleColor(i, rules[i]), shape: ruleShape(i, rules[i]) };
  return { color: "var(--muted)", shape: row.kind === "last" ? "cross" : "circle" };
}

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
  const before = drawings.has(box);
  drawings.set(box, { draw, width: 0 });
  paint(box);
  if (!before) resized.observe(box);
}
function unmount(box) {
  drawings.delete(box);
  resized.unobserve(box);
  box.replaceChildren();
}

// Diagonal lines: nothing was measured here.
let hatches = 0;
function hatch(x, y, width, height, label) {
  const id = `hatch-${hatches++}`;
  return svg("g", {},
    svg("pattern", { id, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" })),
    svg("rect", { x, y, width: Math.max(0, width), height, fill: `url(#${id})` }),
    label && width > textWidth(label) + 16 ? svg("text", { x: x + width / 2, y: y + height / 2, class: "label halo", "text-anchor": "middle" }, label) : null);
}

// The lines and numbers of an upright axis.
const gridLines = (axis, y, left, right) => axis.ticks.map((t, i) => svg("g", {},
  svg("line", { x1: left, x2: right, y1: y(t), y2: y(t), class: "grid" }),
  svg("text", { x: left - 8, y: y(t), dy: "0.32em", "text-anchor": "end", class: "label" }, axis.labels[i])));
