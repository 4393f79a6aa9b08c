// Several runs: all rows in one table, then each run's own.
"use strict";

{
  const data = JSON.parse(byId("data").textContent);
  // Marks follow the rules of each run, which need not agree between runs; by place they would mislead.
  byId("combined").replaceChildren(testTable(data.combined, [], "std"));
  data.runs.forEach((run, i) => {
    const box = byId(`run-${i}`);
    if (!run.test) return box.replaceChildren(el("p", { class: "note" }, "No test pictures have been scored in this run yet."));
    showResults(box, run, `against-${i}`);
  });
}
