// What holds over all subjects: the test table, its values by subject, and where each rule stopped.
"use strict";

const ruleColor = (i, rule) => (rule && rule.kind === "last" ? "var(--muted)" : `var(--rule-${i % 6})`);
const ruleShape = (i, rule) => (rule && rule.kind === "last" ? "cross" : SHAPES[i % 5]);
const byId = (id) => document.getElementById(id);

// The step at which a rule stopped of itself; null where it read to the limit.
const stopOf = (data, outcome) => (outcome.stopped_at_step === null || outcome.stopped_at_step >= data.setup.steps ? null : outcome.stopped_at_step);

// How a row of the test table is drawn, wherever it appears.
function rowLook(row, rules) {
  const i = rules.findIndex((r) => r.id === row.rule);
  if (i >= 0) return { color: ruleColor(i, rules[i]), shape: ruleShape(i, rules[i]) };
  return { color: "var(--muted)", shape: row.kind === "last" ? "cross" : "circle" };
}

// What a difference says, given which direction is better.
function verdict(difference, metric) {
  const pair = difference.interval;
  if (!pair) return { sign: "", text: "one subject: no interval" };
  if (pair[0] <= 0 && pair[1] >= 0) return { sign: "≈", text: "interval includes 0: not told apart" };
  if (metric.higher_is_better === null) return { sign: "≠", text: "interval excludes 0" };
  const better = difference.mean > 0 === metric.higher_is_better;
  return better ? { sign: "▲", text: "better; interval excludes 0" } : { sign: "▼", text: "worse; interval excludes 0" };
}

// A mean with its interval on the scale of its column.
function intervalBar(cell, domain, look) {
  const width = 104, x = (v) => 5 + ((v - domain[0]) / (domain[1] - domain[0] || 1)) * (width - 10);
  return svg("svg", { class: "bar", viewBox: `0 0 ${width} 14`, width, height: 14, "aria-hidden": "true" },
    svg("line", { x1: 0, x2: width, y1: 7, y2: 7, class: "grid" }),
    cell.interval ? svg("line", { x1: x(cell.interval[0]), x2: x(cell.interval[1]), y1: 7, y2: 7, style: `stroke:${look.color};stroke-width:2.5;stroke-linecap:round;opacity:.65` }) : null,
    shape(look.shape, x(cell.mean), 7, 4.2, { style: `fill:${look.color}` }));
}

function testTable(table, rules, against) {
  const domains = table.metrics.map((_, m) => {
    const v = table.rows.flatMap((r) => [r.cells[m]?.mean, ...(r.cells[m]?.interval || [])]).filter(Number.isFinite);
    return [Math.min(...v), Math.max(...v)];
  });
  const head = el("tr", {}, el("th", { scope: "col" }, "Checkpoint"),
    table.metrics.map((m) => el("th", { scope: "col" },
      tip.on(el("button", { class: "metric", type: "button" }, m.label,
        m.higher_is_better === null ? null : el("span", { class: "direction", "aria-label": m.higher_is_better ? "higher is better" : "lower is better" }, m.higher_is_better ? " ↑" : " ↓")),
      () => [el("strong", {}, m.label), m.explanation, m.encoder ? `Computed by ${m.encoder}.` : null].filter(Boolean)))));
  let arm = null;
  const body = table.rows.flatMap((row) => {
    const look = rowLook(row, rules);
    const heading = row.arm !== arm && row.arm ? el("tr", { class: "arm" }, el("th", { colspan: table.metrics.length + 1, scope: "rowgroup" }, row.arm)) : null;
    arm = row.arm;
    return [heading, el("tr", {},
      el("th", { scope: "row" }, el("span", { class: "name" }, glyph(look.shape, look.color), el("span", {}, row.label)),
        el("span", { class: "small" }, [
          row.kind !== "base" && row.median_step !== null ? `median step ${row.median_step}` : null, row.same_checkpoint].filter(Boolean).join(" · "))),
      table.metrics.map((metric, m) => {
        const cell = row.cells[m];
        if (!cell || cell.mean === null) return el("td", {}, "–");
        const difference = against === "std" ? null : cell.differences.find((d) => d.against === against);
        const said = difference && verdict(difference, metric);
        return el("td", {}, el("div", { class: "mean" }, number(cell.mean)), intervalBar(cell, domains[m], look),
          el("div", { class: "small" }, interval(cell.interval)),
          against === "std" && cell.std !== null ? el("div", { class: "small" }, `std ${number(cell.std)}`) : null,
          difference ? tip.on(el("div", { class: "small difference", tabindex: 0, "aria-label": `difference ${signed(difference.mean)}, ${said.text}` }, `${said.sign} ${signed(difference.mean)}`),
            () => [`${signed(difference.mean)} ${interval(difference.interval, 3, signed)}`, said.text,
              difference.p_holm !== null ? `p = ${number(difference.p_holm)} after Holm's adjustment` : null].filter(Boolean)) : null);
      }))];
  });
  return el("div", { class: "scroll" }, el("table", { class: "results" }, el("thead", {}, head), el("tbody", {}, body)));
}

function showResults(box, data, id = "against") {
  const table = data.test;
  if (!table) return box.replaceChildren(el("p", { class: "note" }, "No test pictures have been scored in this run yet."));
  const holder = el("div");
  const known = new Set(table.rows.flatMap((r) => r.cells.flatMap((c) => c.differences.map((d) => d.against))));
  const options = table.rows.filter((r) => known.has(r.id)).map((r) => [r.id, `difference to ${r.arm ? `${r.arm}, ` : ""}${r.label}`]);
  options.push(["std", "the paper's std"]);
  const choice = el("select", { id, onchange: () => holder.replaceChildren(testTable(table, data.rules, choice.value)) },
    options.map(([value, text]) => el("option", { value }, text)));
  box.replaceChildren(
    el("div", { class: "controls" }, el("label", { for: id }, "Below each mean and its 95 % interval: "), choice,
      el("span", { class: "key" }, "▲ better  ▼ worse  ≈ interval includes 0")),
    holder, el("p", { class: "note" }, table.statistics),
    el("dl", { class: "metrics" }, table.metrics.map((m) => el("div", {}, el("dt", {}, m.label), el("dd", {}, m.explanation, m.encoder ? ` Computed by ${m.encoder}.` : "")))));
  holder.replaceChildren(testTable(table, data.rules, choice.value));
}

// One panel a metric; each thin line is a subject, the marks are means.
function showSubjects(box, data, arm) {
  const table = data.test;
  const rows = table ? table.rows.filter((r) => (r.arm === arm || r.kind === "base") && r.subjects.length) : [];
  // One base model: this arm's own where it has one.
  const bases = rows.filter((r) => r.kind === "base"), base = bases.find((r) => r.arm === arm) || bases[0];
  const shown = rows.filter((r) => r.kind !== "base" || r === base);
  box.closest("figure").hidden = shown.length < 2;
  if (shown.length < 2) return;
  box.replaceChildren(...table.metrics.map((metric, m) => {
    const holder = el("div");
    const panel = el("div", { class: "panel" }, el("h4", {}, metric.label), holder);
    queueMicrotask(() => mount(holder, (width) => {
      const height = 190, left = 40, right = 14, top = 8, bottom = 24;
      const values = shown.flatMap((r) => r.subjects.map((s) => s.values[m])).filter(Number.isFinite);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const x = (i) => left + 10 + (i / (shown.length - 1)) * (width - left - right - 20);
      const y = (v) => top + (1 - (v - low) / (high - low || 1)) * (height - top - bottom);
      const { ticks, digits } = niceTicks(low, high, 4);
      const names = [...new Set(shown.flatMap((r) => r.subjects.map((s) => s.subject)))];
      return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": `${metric.label} of each subject` },
        ticks.map((t) => svg("g", {}, svg("line", { x1: left, x2: width - right, y1: y(t), y2: y(t), class: "grid" }),
          svg("text", { x: left - 6, y: y(t), dy: "0.32em", "text-anchor": "end", class: "label" }, number(t, digits)))),
        names.map((name) => {
          const at = shown.map((r, i) => ({ i, s: r.subjects.find((s) => s.subject === name) })).filter((p) => p.s && Number.isFinite(p.s.values[m]));
          const line = svg("path", { class: "subject", d: at.map((p, k) => `${k ? "L" : "M"}${x(p.i)},${y(p.s.values[m])}`).join("") });
          return tip.on(line, () => [el("strong", {}, name), ...at.map((p) => `${shown[p.i].label}: ${number(p.s.values[m])}${p.s.step === null ? "" : ` (step ${p.s.step})`}`)]);
        }),
        shown.map((r, i) => {
          const look = rowLook(r, data.rules), mean = r.cells[m]?.mean;
          if (!Number.isFinite(mean)) return null;
          return tip.on(svg("g", {}, shape(look.shape, x(i), y(Math.max(low, Math.min(high, mean))), 5.5, { class: "mark", style: `fill:${look.color}` }),
            shape(look.shape, x(i), height - 9, 4, { style: `fill:${look.color}` })), () => [el("strong", {}, r.label), `mean ${number(mean)} ${interval(r.cells[m].interval)}`]);
        }));
    }));
    return panel;
  }));
}

// One line a trajectory, as long as it was trained; a mark where each rule chose.
function showTimeline(box, data, arm, current, select) {
  const shown = data.trajectories.filter((t) => t.arm === arm);
  const limit = Math.max(data.setup.steps, ...shown.map((t) => t.stopped_step), 1);
  const several = new Set(shown.map((t) => t.seed)).size > 1;
  mount(box, (width) => {
    const left = Math.min(170, width * 0.32), right = 30, row = 28, top = 6, bottom = 26;
    const height = top + shown.length * row + bottom;
    const x = (v) => left + (v / limit) * (width - left - right);
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": "Step chosen by each rule, by subject" },
      ticksAt(limit, data.setup.validation_interval, width - left - right).map((t) => svg("g", {},
        svg("line", { x1: x(t), x2: x(t), y1: top, y2: height - bottom, class: "grid" }),
        svg("text", { x: x(t), y: height - 8, "text-anchor": "middle", class: "label" }, t))),
      shown.map((t, i) => {
        const y = top + (i + 0.5) * row;
        const groups = new Map();
        t.outcomes.forEach((o) => groups.set(o.chosen_step, [...(groups.get(o.chosen_step) || []), o]));
        const seed = several ? ` · seed ${t.seed}` : "", name = t.subject + seed, room = several ? 13 : 22;
        const line = svg("g", { class: t === current ? "row current" : "row", onclick: () => select(t) },
          svg("rect", { x: 0, y: y - row / 2, width, height: row, class: "hit" }),
          svg("text", { x: left - 12, y, dy: "0.32em", "text-anchor": "end", class: "label strong" }, (t.subject.length > room ? `${t.subject.slice(0, room - 1)}…` : t.subject) + seed),
          t.stopped_step < limit ? hatch(x(t.stopped_step), y - 5, x(limit) - x(t.stopped_step), 10) : null,
          svg("line", { x1: x(0), x2: x(t.stopped_step), y1: y, y2: y, class: "track" }),
          [...groups].map(([step, outcomes]) => outcomes.map((o, k) => {
            const r = data.rules.findIndex((q) => q.id === o.rule);
            return shape(ruleShape(r, data.rules[r]), x(step) + (k - (outcomes.length - 1) / 2) * Math.min(9, (0.85 * (x(data.setup.validation_interval) - x(0))) / outcomes.length || 9), y, 5, { class: "mark", style: `fill:${ruleColor(r, data.rules[r])}` });
          })));
        return tip.on(line, () => [el("strong", {}, name), `trained to step ${t.stopped_step}`,
          ...t.outcomes.map((o) => `${(data.rules.find((r) => r.id === o.rule) || { label: o.rule }).label}: step ${o.chosen_step}${stopOf(data, o) === null ? "" : `, stopped at ${stopOf(data, o)}`}`)]);
      }));
  });
}

const legend = (data, kinds) => el("div", { class: "legend" }, data.rules.map((r, i) =>
  kinds && !kinds.includes(r.kind) ? null : el("span", {}, glyph(ruleShape(i, r), ruleColor(i, r)), r.label)));
