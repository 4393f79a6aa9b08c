// The test table by kind of prompt.
"use strict";

function showKinds(box, data) {
  const table = data.test, kinds = table?.kinds ?? [];
  const section = box.closest("figure");
  section.hidden = !kinds.length;
  if (!kinds.length) return;
  let m = table.primary;
  const holder = el("div");
  const at = (kind, row) => kind.means[row]?.[m];
  const draw = () => holder.replaceChildren(scrolling("Means by kind of prompt", el("table", { class: "plain kinds" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Checkpoint"),
      kinds.map((k) => el("th", { scope: "col" }, k.kind, el("span", { class: "small" }, count(k.prompts, "prompt")))), el("th", { scope: "col" }, "all"))),
    el("tbody", {}, table.rows.map((row, r) => {
      const look = rowLook(row, data.rules);
      return el("tr", {}, el("th", { scope: "row" }, glyph(look.shape, look.color), ` ${rowName(row)}`),
        kinds.map((k) => el("td", {}, number(at(k, r)))), el("td", {}, number(row.cells[m]?.mean)));
    })))));
  box.replaceChildren(el("div", { class: "controls" }, menu("Metric", table.metrics.map((x, i) => [i, x.label]), m, (value) => { m = value; draw(); }, { id: "kinds-metric" })), holder);
  saveButtons(section, data.name, "kinds", () => [["arm", "row", "metric", "kind", "prompts", "mean"],
    ...table.rows.flatMap((row, r) => table.metrics.flatMap((metric, i) => kinds.map((k) => [row.arm, row.label, metric.label, k.kind, k.prompts, k.means[r]?.[i]])))]);
  draw();
}
