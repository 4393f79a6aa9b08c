// Test pictures side by side: a row is a prompt with its noise, a column a checkpoint, over all arms.
"use strict";

// Which arms the reader sees; null until there is a choice.
let armsSeen = null;

// Index of the rule that chose a sample.
function ruleOfSample(data, s) {
  const row = s.row && data.test?.rows.find((r) => r.id === s.row);
  return row ? data.rules.findIndex((r) => r.id === row.rule) : data.rules.findIndex((r) => r.label === s.label);
}

// Columns of the arms shown: rules of an arm that chose the same checkpoint share one, and step 0 is the same model in every arm,
// drawn alike but for reward guidance.
function columnsOf(data, shown, rowsOf) {
  const columns = [];
  for (const t of shown) {
    for (const s of rowsOf.get(t).flatMap((r) => r.pictures)) {
      const arm = s.step === 0 && !s.variant ? null : t, rule = ruleOfSample(data, s);
      let column = columns.find((c) => c.arm === arm && c.step === s.step && c.variant === s.variant);
      if (!column) columns.push(column = { arm, step: s.step, variant: s.variant, name: `step ${nameOf(s.step, s.variant)}`, labels: [] });
      // A rule that chose step 0 did so in its arm.
      const label = rule < 0 ? s.label : (arm === null && t.arm ? `${t.arm} · ` : "") + data.rules[rule].label;
      if (!column.labels.some((l) => l.label === label)) column.labels.push({ label, rule });
    }
  }
  const place = (c) => (c.arm ? shown.indexOf(c.arm) : -1);
  return columns.sort((a, b) => place(a) - place(b) || a.step - b.step);
}

function showSamples(box, data, current, arms) {
  const section = box.closest("section");
  section.hidden = !data.samples.length;
  const mates = data.trajectories.filter((t) => t.subject === current.subject && t.seed === current.seed);
  const rowsOf = new Map(mates.map((t) => [t, data.samples.filter((s) => s.trajectory === t.id)]));
  const drawnMates = mates.filter((t) => rowsOf.get(t).length);
  if (!drawnMates.length) return box.replaceChildren(el("p", { class: "note" }, "No test pictures of this subject and seed are in this page."));
  armsSeen ??= new Set(arms);
  const first = 6;
  let all = false;
  const holder = el("div"), more = el("button", { class: "more", type: "button", onclick: () => { all = !all; draw(); } });
  const draw = () => {
    const seen = drawnMates.filter((t) => armsSeen.has(t.arm));
    const shown = seen.length ? seen : drawnMates;
    const columns = columnsOf(data, shown, rowsOf);
    const prompts = unique(shown.flatMap((t) => rowsOf.get(t).map((r) => r.prompt)));
    const find = (c, prompt) => (c.arm ? [c.arm] : shown).map((t) => rowsOf.get(t).find((r) => r.prompt === prompt)?.pictures.find((p) => p.step === c.step && p.variant === c.variant)).find(Boolean);
    const several = arms.length > 1;
    const groups = shown.map((t) => [t, columns.filter((c) => c.arm === t).length]).filter(([, n]) => n);
    const base = columns.filter((c) => !c.arm).length;
    const corner = el("th", { scope: "col", class: "corner", rowspan: several ? 2 : 1 }, el("div", { class: "faces" }, current.references.slice(0, 4).map((p, i) => picture(data, p, `${current.subject}: reference ${i + 1}`))),
      el("span", { class: "small" }, current.references.length ? `References, ${partOf(Math.min(4, current.references.length), current.photos || current.references.length, "picture")}` : "Test prompt"));
    const head = columns.map((c) => el("th", { scope: "col" }, el("strong", {}, c.name), c.labels.map(({ label, rule }) =>
      label === c.name ? null : el("span", { class: "small" }, rule >= 0 ? ruleGlyph(data.rules, rule) : null, ` ${label}`))));
    // A large run has room for a few rows of the table only.
    const rowsShown = unique(shown.flatMap((t) => rowsOf.get(t).flatMap((r) => r.pictures.map((p) => p.row || (ruleOfSample(data, p) < 0 ? p.label : `${t.arm}/${p.label}`))))).length;
    const rowsAll = (data.test?.rows ?? []).filter((r) => r.kind === "base" || shown.some((t) => t.arm === r.arm)).length;
    const cells = new Set(data.samples.map((s) => s.trajectory)).size;
    holder.replaceChildren(
      scrolling("Test pictures by checkpoint", el("table", { class: "samples" },
        el("thead", {}, several ? el("tr", { class: "arms" }, corner, base ? el("th", { colspan: base, scope: "colgroup" }, "every arm") : null,
          groups.map(([t, n]) => el("th", { colspan: n, scope: "colgroup" }, t.arm || "–"))) : null,
        el("tr", {}, several ? null : corner, head)),
        el("tbody", {}, prompts.slice(0, all ? prompts.length : first).map((prompt) => el("tr", {}, el("th", { scope: "row" }, prompt), columns.map((c) => {
          const s = find(c, prompt);
          return el("td", {}, s ? picture(data, s.picture, `${prompt} · ${c.arm?.arm ? `${c.arm.arm} · ` : ""}${c.name}`) : null);
        })))))),
      el("p", { class: "small" }, `${capital(partOf(all ? prompts.length : Math.min(prompts.length, first), data.setup.test_prompts, "test prompt"))}, ${ofEach(data.setup.test_pictures_per_prompt)}${rowsShown < rowsAll ? `, ${rowsShown} of ${rowsAll} rows of the table` : ""}; pictures of ${
        partOf(cells, data.setup.cells || data.trajectories.length, "cell")} of the run are in this page.`));
    more.hidden = prompts.length <= first;
    more.textContent = all ? "Show fewer prompts" : `Show all ${prompts.length} prompts`;
  };
  box.replaceChildren(arms.length > 1 ? el("div", { class: "controls" }, toggles("Arms", drawnMates.map((t) => [t.arm, t.arm || "–"]), armsSeen, draw)) : "", holder, more);
  draw();
}
