// Each subject and seed by itself: its values in every row, and where each rule stopped.
"use strict";

// The step at which a rule stopped of itself; null where it read to the limit.
const stopOf = (data, outcome) => (outcome.stopped_at_step === null || outcome.stopped_at_step >= data.setup.steps ? null : outcome.stopped_at_step);

// `look`: {arm, seed, current}; seed null for all of them.
function showSubjects(box, data, look) {
  const table = data.test;
  const rows = table ? table.rows.filter((r) => (r.arm === look.arm || r.kind === "base") && r.subjects.length) : [];
  // One base model: this arm's own where it has one.
  const bases = rows.filter((r) => r.kind === "base"), base = bases.find((r) => r.arm === look.arm) || bases[0];
  const shown = rows.filter((r) => r.kind !== "base" || r === base);
  box.closest("figure").hidden = shown.length < 2;
  if (shown.length < 2) return;
  const seeded = shown.some((r) => r.subjects.some((s) => s.seed !== null && s.seed !== undefined));
  const name = (s) => (known(s.seed) ? `${s.subject}, seed ${s.seed}` : s.subject);
  const wanted = (s) => look.seed === null || !known(s.seed) || s.seed === look.seed;
  const units = new Map();
  shown.forEach((r, i) => r.subjects.filter(wanted).forEach((s) => units.set(name(s), [...(units.get(name(s)) || []), { i, s }])));
  const own = (s) => s.subject === look.current.subject && (!known(s.seed) || s.seed === look.current.seed);
  byId("subjects-said").textContent = `Each thin line is ${seeded ? (look.seed === null ? "a subject and seed" : `a subject with seed ${look.seed}`) : "a subject"}, the coloured one the subject${seeded ? " and seed" : ""} chosen above; each mark is the mean over ${seeded ? "subjects and all seeds" : "subjects"}.`;

  byId("subjects-legend").replaceChildren(rowsLegend(shown, data.rules));
  box.replaceChildren(...table.metrics.map((metric, m) => {
    const holder = el("div");
    queueMicrotask(() => mount(holder, (width) => {
      const lines = [...units].map(([title, at]) => [title, at.filter((p) => Number.isFinite(p.s.values[m]))]).filter(([, at]) => at.length);
      const axis = valueAxis(lines.flatMap(([, at]) => at.map((p) => p.s.values[m])), 4);
      const height = 190, left = axis.room + 14, right = 10, top = 8, bottom = 24;
      const x = (i) => left + 10 + (i / (shown.length - 1)) * (width - left - right - 20);
      const y = (v) => top + (1 - (v - axis.low) / (axis.high - axis.low)) * (height - top - bottom);
      return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": `${metric.label} of each subject`,
        // Many lines would hide each other and the marks.
        style: `--faint:${Math.max(0.12, Math.min(0.45, 12 / lines.length)).toFixed(2)}` },
        gridLines(axis, y, left, width - right),
        // The chosen one last, above the others.
        lines.sort((a, b) => own(a[1][0].s) - own(b[1][0].s)).map(([title, at]) => {
          const line = svg("path", { class: own(at[0].s) ? "subject own" : "subject", d: at.map((p, k) => `${k ? "L" : "M"}${x(p.i).toFixed(1)},${y(p.s.values[m]).toFixed(1)}`).join("") });
          return tip.on(line, () => [el("strong", {}, title), ...at.map((p) => `${shown[p.i].label}: ${number(p.s.values[m])}${known(p.s.step) ? ` (step ${p.s.step})` : ""}`)]);
        }),
        shown.map((r, i) => {
          const mark = rowLook(r, data.rules), mean = r.cells[m]?.mean;
          if (!Number.isFinite(mean)) return null;
          return tip.on(svg("g", {}, shape(mark.shape, x(i), y(Math.max(axis.low, Math.min(axis.high, mean))), 5.5, { class: "mark", style: `fill:${mark.color}` }),
            shape(mark.shape, x(i), height - 9, 4, { style: `fill:${mark.color}` })), () => [el("strong", {}, r.label), `mean ${number(mean)} ${interval(r.cells[m].interval)}`]);
        }));
    }));
    return el("div", { class: "panel" }, el("h4", {}, metric.label), holder);
  }));
}

const rowsLegend = (rows, rules) => el("div", { class: "legend" }, rows.map((row) => {
  const look = rowLook(row, rules);
  return el("span", {}, glyph(look.shape, look.color), row.label);
}));

const subjectsCsv = (table) => [["arm", "row", "subject", "seed", "step", ...table.metrics.map((m) => m.label)],
  ...table.rows.flatMap((r) => r.subjects.map((s) => [r.arm, r.label, s.subject, s.seed, s.step, ...s.values]))];

// So many trainings at first; a large run has hundreds.
const FIRST_TRAININGS = 40;
let allTrainings = false;

// One line a trajectory, as long as it was trained; a mark where each rule chose.
function showTimeline(box, data, look, select) {
  const order = unique(data.trajectories.map((t) => t.subject));
  const every = data.trajectories.filter((t) => t.arm === look.arm && (look.seed === null || t.seed === look.seed))
    .sort((a, b) => order.indexOf(a.subject) - order.indexOf(b.subject) || a.seed - b.seed);
  const shown = every.filter((t, i) => allTrainings || i < FIRST_TRAININGS || t === look.current);
  byId("timeline-more").replaceChildren(every.length <= FIRST_TRAININGS ? "" : el("button", { class: "more", type: "button",
    onclick: () => { allTrainings = !allTrainings; showTimeline(box, data, look, select); byId("timeline-more").firstChild.focus(); } },
  allTrainings ? "Show fewer trainings" : `Show all ${every.length} trainings (${shown.length} shown)`));
  const limit = Math.max(data.setup.steps, ...shown.map((t) => t.stopped_step), 1);
  const several = new Set(data.trajectories.map((t) => t.seed)).size > 1;
  const label = (t) => (several ? `${t.subject} · seed ${t.seed}` : t.subject);
  mount(box, (width) => {
    // On a narrow screen a name stands above its line.
    const above = width < 480, row = above ? 46 : 28, top = 6, bottom = 26;
    // Marks of one step stand side by side, at the last step too.
    const side = 4.5 * (Math.max(1, ...shown.map((t) => t.outcomes.length)) - 1) + 8;
    const right = Math.max(side, textWidth(limit) / 2 + 4);
    const left = above ? side : Math.min(0.34 * width, 14 + Math.max(...shown.map((t) => textWidth(label(t), 700))));
    const height = top + shown.length * row + bottom;
    const x = (v) => left + (v / limit) * (width - left - right);
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": "Step chosen by each rule, by subject" },
      ticksAt(limit, data.setup.validation_interval, width - left - right).map((t) => svg("g", {},
        svg("line", { x1: x(t), x2: x(t), y1: top, y2: height - bottom, class: "grid" }),
        svg("text", { x: x(t), y: height - 8, "text-anchor": "middle", class: "label" }, t))),
      shown.map((t, i) => {
        const start = top + i * row, y = above ? start + 32 : start + row / 2;
        const groups = new Map();
        t.outcomes.forEach((o) => groups.set(o.chosen_step, [...(groups.get(o.chosen_step) || []), o]));
        const seed = several ? ` · seed ${t.seed}` : "";
        const text = fit(t.subject, (above ? width - 20 : left - 14) - textWidth(seed, 700), 700) + seed;
        const line = svg("g", { class: t === look.current ? "row current" : "row", onclick: () => select(t) },
          svg("rect", { x: 0, y: start, width, height: row, class: "hit" }),
          svg("text", { x: above ? 2 : left - 12, y: above ? start + 14 : y, dy: "0.32em", "text-anchor": above ? "start" : "end", class: "label strong" }, text),
          t.stopped_step < limit ? hatch(x(t.stopped_step), y - 5, x(limit) - x(t.stopped_step), 10) : null,
          svg("line", { x1: x(0), x2: x(t.stopped_step), y1: y, y2: y, class: "track" }),
          [...groups].map(([step, outcomes]) => outcomes.map((o, k) => {
            const r = data.rules.findIndex((q) => q.id === o.rule);
            return shape(ruleShape(r, data.rules[r]), x(step) + (k - (outcomes.length - 1) / 2) * Math.min(9, (0.85 * (x(data.setup.validation_interval) - x(0))) / outcomes.length || 9), y, 5, { class: "mark", style: `fill:${ruleColor(r, data.rules[r])}` });
          })));
        return tip.on(line, () => [el("strong", {}, label(t)), `trained to step ${t.stopped_step}`,
          ...t.outcomes.map((o) => `${(data.rules.find((r) => r.id === o.rule) || { label: o.rule }).label}: step ${nameOf(o.chosen_step, o.chosen_variant)}${stopOf(data, o) === null ? "" : `, stopped at ${stopOf(data, o)}`}`)]);
      }));
  });
}

// Every decision of every training.
const outcomesCsv = (data) => [["arm", "subject", "seed", "rule", "chosen_step", "stopped_at_step", "trained_to", "reward_chosen", "reward_step0", "reason", "chosen_variant"],
  ...data.trajectories.flatMap((t) => t.outcomes.map((o) => [t.arm, t.subject, t.seed, o.rule, o.chosen_step, o.stopped_at_step, t.stopped_step, o.reward_chosen, o.reward_step0, o.reason, o.chosen_variant ?? ""]))];
