// What a difference between two rows of the test table says, and one metric in full.
"use strict";

const rowName = (row) => (row.arm ? `${row.arm} · ${row.label}` : row.label);
const differenceOf = (cell, against) => cell?.differences.find((d) => d.against === against);

// A verdict, given which direction is better.
function verdict(difference, metric) {
  const pair = difference.interval;
  if (!pair) return { sign: "", text: "one subject: no interval" };
  if (pair[0] <= 0 && pair[1] >= 0) return { sign: "≈", text: "interval includes 0: not told apart" };
  if (metric.higher_is_better === null) return { sign: "≠", text: "interval excludes 0" };
  const better = difference.mean > 0 === metric.higher_is_better;
  return better ? { sign: "▲", text: "better; interval excludes 0" } : { sign: "▼", text: "worse; interval excludes 0" };
}

const improvedOf = (d) => (known(d.improved) && d.subjects ? `${d.improved} of ${d.subjects}` : null);
const withinOf = (e) => `± ${Number(e.margin.toPrecision(3))}, p = ${probability(e.p)}`.replace("= <", "<");
const sameWithin = (e) => e ? `${e.p < 0.05 ? "equal within" : "not shown equal within"} ${withinOf(e)}` : null;

// The rows that Holm's adjustment is over, in words. A row with the same checkpoints throughout is the same model: there is nothing to test.
function family(table, m, against) {
  const other = table.rows.find((r) => r.id === against);
  const tested = table.rows.map((r) => differenceOf(r.cells[m], against)).filter((d) => d?.interval && known(d.p_holm));
  const n = tested.filter((d) => d.interval.some((end) => end !== 0)).length;
  return n && other ? `the ${n === 1 ? "one row" : `${n} rows`} compared with “${rowName(other)}”, in this metric${n < tested.length ? "; rows of the same checkpoints are not tested" : ""}` : null;
}

// A difference in full, for the note beside it.
function aboutDifference(table, m, difference, other) {
  const said = verdict(difference, table.metrics[m]), pair = [
    known(difference.p_holm) ? `p = ${probability(difference.p_holm)} after Holm` : null,
    known(difference.p_permutation_holm) ? `${probability(difference.p_permutation_holm)} by permutation` : null].filter(Boolean).join(", ");
  return [el("strong", {}, `${signed(difference.mean)} ${interval(difference.interval, 3, signed)}`), `against ${rowName(other)}: ${said.text}`, pair.replace("= <", "<"),
    improvedOf(difference) ? `improved: ${improvedOf(difference)} subjects` : null,
    known(difference.worst_tenth) ? `worst tenth of subjects: ${signed(difference.worst_tenth)}` : null, sameWithin(difference.equivalence)];
}

// Columns of the table in full: head, what it is, and its words; one that no row fills is left out.
const FULL = [
  ["Difference", "Mean of the paired differences over subjects, with its 95 % interval.", (d, metric) => [`${verdict(d, metric).sign} ${signed(d.mean)}`.trim(), el("span", { class: "small" }, interval(d.interval, 3, signed))]],
  ["p, Holm", "Student's t, after Holm's adjustment.", (d) => known(d.p_holm) ? [probability(d.p_holm), known(d.p) ? el("span", { class: "small" }, `alone ${probability(d.p)}`) : null] : null],
  ["p by permutation, Holm", "Exact sign flips, after Holm's adjustment.", (d) => known(d.p_permutation_holm) ? [probability(d.p_permutation_holm), known(d.p_permutation) ? el("span", { class: "small" }, `alone ${probability(d.p_permutation)}`) : null] : null],
  ["Improved", "Subjects that are better in this row.", improvedOf],
  ["Worst tenth", "Mean difference of the tenth of the subjects, at least one, that fares worst.", (d) => known(d.worst_tenth) ? signed(d.worst_tenth) : null],
  ["Equal?", "Two one-sided tests: below .05, no difference beyond the margin is left.", (d) => d.equivalence ? [d.equivalence.p < 0.05 ? "equal" : "not shown", el("span", { class: "small" }, withinOf(d.equivalence))] : null],
];

function detailTable(table, rules, m, against) {
  const metric = table.metrics[m], other = table.rows.find((r) => r.id === against);
  const differences = table.rows.map((r) => differenceOf(r.cells[m], against));
  const columns = FULL.filter(([, , words]) => differences.some((d) => d && words(d, metric)));
  return scrolling(`${metric.label} in full`, el("table", { class: "plain full" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Checkpoint"), el("th", { scope: "col" }, `${metric.label}, mean`),
      columns.map(([head, what]) => el("th", { scope: "col", title: what }, head)))),
    el("tbody", {}, table.rows.map((row, i) => {
      const look = rowLook(row, rules), cell = row.cells[m];
      return el("tr", { class: row === other ? "baseline" : null },
        el("th", { scope: "row" }, glyph(look.shape, look.color), ` ${rowName(row)}`),
        el("td", {}, number(cell?.mean), el("span", { class: "small" }, interval(cell?.interval))),
        row === other ? el("td", { class: "words", colspan: columns.length }, "the others are compared with this row")
          : columns.map(([, , words]) => el("td", {}, (differences[i] && words(differences[i], metric)) ?? "–")));
    }))));
}
