// What each arm costs, and published figures, which are compared with nothing.
"use strict";

const plainTable = (caption, heads, rows) => scrolling(caption, el("table", { class: "plain" },
  el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
  el("tbody", {}, rows.map(([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), rest.map((value) => el("td", {}, value)))))));

// 163.8k, 6.1M
function shortCount(n) {
  if (!known(n)) return "–";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) if (n >= size) return `${(n / (unit === "k" ? 1e3 : size)).toFixed(1)}${unit}`;
  return String(n);
}

function showCosts(box, data) {
  const costs = data.beside?.costs ?? [];
  const section = box.closest("figure");
  section.hidden = costs.length < 2;
  if (section.hidden) return;
  const heads = ["Arm", "trains", "steps", "of at most", "training pictures drawn", "forwards", "seconds", "parameters", "checkpoint"];
  const whole = (x) => Math.round(x).toLocaleString("en-US");
  box.replaceChildren(plainTable("Cost of one subject by arm", heads, costs.map((c) => [c.arm, c.trains, whole(c.steps), whole(c.iterations), whole(c.pictures),
    whole(c.forwards), known(c.seconds) ? whole(c.seconds) : "–", shortCount(c.parameters), known(c.bytes) ? `${shortCount(c.bytes)}B` : "–"])));
  saveButtons(section, data.name, "costs", () => [["arm", "backbone", "trains", "iterations", "steps", "pictures", "forwards", "seconds", "parameters", "bytes"],
    ...costs.map((c) => [c.arm, c.backbone, c.trains, c.iterations, c.steps, c.pictures, c.forwards, c.seconds, c.parameters, c.bytes])]);
}

function showPublished(box, data) {
  const rows = data.beside?.published ?? [];
  box.closest("figure").hidden = !rows.length;
  if (!rows.length) return;
  const figure = (x) => (known(x) ? number(x) : "–");
  box.replaceChildren(plainTable("Published figures", ["Method", "backbone", "iterations", "DINO", "CLIP-I", "CLIP-T", "source"], rows.map((r) => [r.name, r.backbone || "–",
    known(r.iterations) ? String(r.iterations) : "–", figure(r.dino), figure(r.clip_i), figure(r.clip_t), r.source])));
}
