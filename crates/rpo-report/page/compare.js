// Several runs: all rows in one table, then each run's own.
"use strict";

{
  const data = JSON.parse(byId("data").textContent);
  // Marks follow the rules of each run, which need not agree between runs; by place they would mislead.
  const table = data.combined, holder = el("div");
  const shown = new Set(table.metrics.map((_, m) => m).filter((m) => !isNarrow() || m === table.primary));
  const draw = () => holder.replaceChildren(testTable(table, [], "std", shown));
  const figure = el("figure", {}, el("div", { class: "controls" }, toggles("Metrics", table.metrics.map((m, i) => [i, m.label]), shown, draw)), holder);
  byId("combined").replaceChildren(figure);
  draw();
  saveButtons(figure, "runs", "compared", () => testCsv(table, "std"));
  data.runs.forEach((run, i) => showResults(byId(`run-${i}`), run, `against-${i}`));
}
