// Several runs: all rows in one table, then each run's own.
"use strict";

{
  const data = JSON.parse(byId("data").textContent);
  // Marks follow the rules of each run, which need not agree between runs; by place they would mislead.
  const combined = byId("combined"), figure = el("figure", {}, testTable(data.combined, [], "std"));
  combined.replaceChildren(figure);
  saveButtons(figure, "runs", "compared", () => testCsv(data.combined, "std"));
  data.runs.forEach((run, i) => showResults(byId(`run-${i}`), run, `against-${i}`));
}
