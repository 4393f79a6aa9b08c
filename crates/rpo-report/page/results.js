// The test table: means, intervals, and the differences to any row the reader chooses.
"use strict";

// A mean with its interval on the scale of its column.
function intervalBar(cell, domain, look) {
  const width = 92, x = (v) => 5 + ((v - domain[0]) / (domain[1] - domain[0] || 1)) * (width - 10);
  return svg("svg", { class: "bar", viewBox: `0 0 ${width} 14`, width, height: 14, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: width, y1: 7, y2: 7, class: "grid" }),
    cell.interval ? svg("line", { x1: x(cell.interval[0]), x2: x(cell.interval[1]), y1: 7, y2: 7, style: `stroke:${look.color};stroke-width:2.5;stroke-linecap:round;opacity:.65` }) : null,
    shape(look.shape, x(cell.mean), 7, 4.2, { style: `fill:${look.color}` }));
}

// `against`: the row that others are compared with, or "std" for the paper's deviation; `shown`: which metrics.
function testTable(table, rules, against, shown) {
  const columns = table.metrics.map((_, m) => m).filter((m) => !shown || shown.has(m));
  const other = table.rows.find((r) => r.id === against);
  const domain = (m) => {
    const v = table.rows.flatMap((r) => [r.cells[m]?.mean, ...(r.cells[m]?.interval || [])]).filter(Number.isFinite);
    return [Math.min(...v), Math.max(...v)];
  };
  const domains = table.metrics.map((_, m) => domain(m));
  const head = el("tr", {}, el("th", { scope: "col" }, "Checkpoint"),
    columns.map((m) => table.metrics[m]).map((m) => el("th", { scope: "col" },
      tip.on(el("button", { class: "metric", type: "button" }, m.label,
        m.higher_is_better === null ? null : el("span", { class: "direction", role: "img", "aria-label": m.higher_is_better ? "higher is better" : "lower is better" }, m.higher_is_better ? " ↑" : " ↓")),
      () => [el("strong", {}, m.label), m.explanation, m.encoder ? `Computed by ${m.encoder}.` : null]))));
  let arm = null;
  const body = table.rows.flatMap((row) => {
    const look = rowLook(row, rules);
    const heading = row.arm !== arm && row.arm ? el("tr", { class: "arm" }, el("th", { colspan: columns.length + 1, scope: "rowgroup" }, row.arm)) : null;
    arm = row.arm;
    return [heading, el("tr", { class: row === other ? "baseline" : null },
      el("th", { scope: "row" }, el("span", { class: "name" }, glyph(look.shape, look.color), el("span", {}, row.label)),
        el("span", { class: "small" }, [
          row === other ? "compared with" : null,
          row.kind !== "base" && row.median_step !== null ? `median step ${row.median_step}` : null, row.same_checkpoint].filter(Boolean).join(" · "))),
      columns.map((m) => {
        const cell = row.cells[m], metric = table.metrics[m];
        if (!cell || cell.mean === null) return el("td", {}, "–");
        const difference = differenceOf(cell, against);
        const said = difference && verdict(difference, metric);
        return el("td", {}, el("div", { class: "mean" }, number(cell.mean)), intervalBar(cell, domains[m], look),
          el("div", { class: "small" }, interval(cell.interval)),
          against === "std" && cell.std !== null ? el("div", { class: "small" }, `std ${number(cell.std)}`) : null,
          difference ? tip.on(el("div", { class: "small difference", tabindex: 0, role: "note", "aria-label": `difference ${signed(difference.mean)}, ${said.text}` }, `${said.sign} ${signed(difference.mean)}`),
            () => aboutDifference(table, m, difference, other)) : null);
      }))];
  });
  return scrolling("Test table", el("table", { class: "results" }, el("thead", {}, head), el("tbody", {}, body)));
}

// The whole table against one row, a line for each row and metric.
function testCsv(table, against) {
  const ends = (pair) => pair ?? [null, null];
  return [["arm", "row", "metric", "encoder", "mean", "mean_low", "mean_high", "std", "against", "difference", "difference_low", "difference_high",
    "p", "p_holm", "p_permutation", "p_permutation_holm", "improved", "subjects", "worst_tenth", "margin", "p_equivalence"],
  ...table.rows.flatMap((row) => table.metrics.map((metric, m) => {
    const cell = row.cells[m], d = differenceOf(cell, against);
    return [row.arm, row.label, metric.label, metric.encoder, cell?.mean, ...ends(cell?.interval), cell?.std,
      ...(d ? [against, d.mean, ...ends(d.interval), d.p, d.p_holm, d.p_permutation, d.p_permutation_holm, d.improved, d.subjects || null, d.worst_tenth, d.equivalence?.margin, d.equivalence?.p] : Array(13).fill(null))];
  }))];
}

const isNarrow = () => innerWidth < 640;

// `id`: a prefix for elements, of which a page may have several.
function showResults(box, data, id = "against") {
  const table = data.test;
  if (!table || !table.rows.length) return box.replaceChildren(el("p", { class: "note" }, "No test pictures have been scored in this run yet."));
  const compared = new Set(table.rows.flatMap((r) => r.cells.flatMap((c) => c.differences.map((d) => d.against))));
  const options = table.rows.filter((r) => compared.has(r.id)).map((r) => [r.id, r.id, r.arm]);
  options.push(["std", "no row: the paper's std"]);
  let against = compared.has(table.baseline) ? table.baseline : options[0][0];
  let primary = table.primary;
  const every = table.metrics.map((_, m) => m);
  const shown = new Set(isNarrow() ? [table.primary] : every);

  const overview = el("figure"), full = el("figure"), means = el("div"), inFull = el("div"), holm = el("p", { class: "note" });
  const draw = () => {
    tip.hide();
    means.replaceChildren(testTable(table, data.rules, against, shown));
    full.hidden = against === "std";
    if (full.hidden) return;
    inFull.replaceChildren(detailTable(table, data.rules, primary, against));
    const rows = family(table, primary, against);
    holm.textContent = rows ? `Holm's adjustment is over ${rows}.` : "";
  };
  fill(overview, {},
    [el("div", { class: "controls" },
      menu("Compare with", options, against, (value) => { against = value; draw(); }, { id }),
      el("span", { class: "key" }, "▲ better  ▼ worse  ≈ interval includes 0"),
      table.metrics.length > 2 ? toggles("Metrics", table.metrics.map((m, i) => [i, m.label]), shown, draw) : null), means]);
  fill(full, {},
    [el("figcaption", {}, el("h3", {}, "One metric in full")),
      el("div", { class: "controls" }, menu("Metric", table.metrics.map((m, i) => [i, m.label]), primary, (m) => { primary = m; draw(); }, { id: `${id}-metric` })), inFull, holm]);
  box.replaceChildren(overview, full, el("p", { class: "note" }, table.statistics),
    el("dl", { class: "metrics" }, table.metrics.map((m) => el("div", {}, el("dt", {}, m.label), el("dd", {}, m.explanation, m.encoder ? ` Computed by ${m.encoder}.` : "")))));
  saveButtons(overview, data.name, "test", () => testCsv(table, against));
  saveButtons(full, data.name, "test-in-full");
  draw();
}
