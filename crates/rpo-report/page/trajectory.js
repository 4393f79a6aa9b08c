// One trajectory: its references, its pictures by step, its validation scores, samples and losses.
"use strict";

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

// Behind a picture's URI stands, where it is a thumbnail or not, the place of the whole file.
function picture(data, index, caption, size) {
  const [uri, link] = data.pictures[index].split("#");
  return el("button", { class: "picture", type: "button", style: size ? `width:${size}px` : null, onclick: () => enlarge(uri, caption, link) },
    el("img", { src: uri, alt: caption }));
}
function enlarge(uri, caption, link) {
  const dialog = byId("large");
  const whole = link ? [el("p", { class: "small" }, el("a", { href: link, target: "_blank", rel: "noopener" }, "the file"))] : [];
  dialog.replaceChildren(el("img", { src: uri, alt: caption }), el("p", {}, caption), ...whole, el("form", { method: "dialog" }, el("button", { autofocus: true }, "Close")));
  dialog.showModal();
}

function showReferences(box, data, t) {
  const row = (title, note, pictures) => pictures.length ? el("div", {}, el("h4", {}, title), el("div", { class: "row" }, pictures.map((p, i) => picture(data, p, `${t.subject}: ${title.toLowerCase()} ${i + 1}`, 96))), el("p", { class: "small" }, note)) : null;
  const all = t.photos || t.references.length;
  const unfinished = t.unfinished ? [el("p", { class: "note" }, `Unfinished: ${t.unfinished}. What is marked below as chosen would be chosen if it ended now.`)] : [];
  box.replaceChildren(...unfinished, el("div", { class: "pair" },
    ...[row("References", `What the model learns from, “${t.subject}” (${t.class}): ${partOf(t.references.length, all, "picture")}.`, t.references),
      row("Negatives", `Drawn from the base model: ${partOf(t.negatives.length, data.setup.negatives, "picture")}.`, t.negatives)].filter(Boolean)));
}

// A checkpoint after the word step: a step may have variants of its weights beside the trained ones.
const nameOf = (step, variant) => (variant ? `${step} (${variant})` : `${step}`);
const trainedOnes = (t) => t.validations.filter((v) => !v.variant);

// The steps of a trajectory, those never reached included.
function stepGrid(data, t) {
  const grid = trainedOnes(t).map((v) => v.step);
  const every = data.setup.validation_interval;
  for (let s = (grid.at(-1) ?? -every) + every; every > 0 && s <= data.setup.steps; s += every) grid.push(s);
  return grid;
}

function marksAt(data, t, step) {
  return t.outcomes.filter((o) => o.chosen_step === step).map((o) => {
    const i = data.rules.findIndex((r) => r.id === o.rule);
    return ruleGlyph(data.rules, i, `chosen by ${data.rules[i]?.label ?? o.rule}${o.chosen_variant ? `: its ${o.chosen_variant}` : ""}`);
  });
}

function showStrip(box, data, t) {
  const figure = box.closest("figure");
  figure.hidden = !t.validations.length;
  if (figure.hidden) return;
  if (!t.strip_prompts.length) return box.replaceChildren(el("p", { class: "note" }, "None of these pictures are in this page; they lie beside it, in trajectories/."));
  const grid = stepGrid(data, t);
  const scored = new Map(trainedOnes(t).map((v) => [v.step, v]));
  const head = grid.map((step) => el("div", { class: scored.has(step) ? "step" : "step never" },
    el("span", { class: "marks" }, marksAt(data, t, step)),
    el("span", {}, step), el("span", { class: t.kept_steps.includes(step) ? "kept" : "kept none", title: t.kept_steps.includes(step) ? "weights kept" : null })));
  const rows = t.strip_prompts.flatMap((prompt, k) => [
    el("div", { class: "prompt" }, prompt),
    ...grid.map((step) => {
      const index = scored.get(step)?.strip[k];
      return index === undefined ? el("div", { class: "hatched", role: "img", "aria-label": `step ${step}: nothing drawn` }) : picture(data, index, `${prompt} · step ${step}`);
    })]);
  const prompts = t.validation_prompts.length, each = Math.round((t.validations[0]?.pictures.length ?? 0) / (prompts || 1));
  box.replaceChildren(scrolling("Pictures by step", el("div", { class: "strip", style: `--steps:${grid.length}` }, head, rows)),
    legend(data), el("p", { class: "small" }, `${capital(partOf(t.strip_prompts.length, prompts, "validation prompt"))}, ${ofEach(each)}. A mark above a step: the rule chose it. `,
      el("span", { class: "kept" }), " weights kept.", grid.some((s) => !scored.has(s)) ? " Dashed: training had stopped, nothing was drawn." : ""));
}
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const ofEach = (n) => (n > 1 ? `1 of ${n} pictures of each` : "one picture each");

// Means over pictures with the standard error of that mean.
function meanSeries(t, value) {
  return trainedOnes(t).map((v) => {
    const values = v.pictures.map(value);
    if (!values.length) return { x: v.step, y: NaN };
    const m = mean(values), n = values.length;
    const error = n > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - m) ** 2, 0) / (n - 1) / n) : NaN;
    return { x: v.step, y: m, low: m - error, high: m + error };
  });
}

function showValidation(boxes, data, t) {
  const last = t.validations.at(-1)?.step ?? 0;
  const limit = Math.max(data.setup.steps, last, 1);
  const hatched = [last, limit, "not scored"];
  const look = (o) => { const i = data.rules.findIndex((r) => r.id === o.rule); return { shape: ruleShape(i, data.rules[i]), color: ruleColor(i, data.rules[i]) }; };
  const footFlags = t.outcomes.flatMap((o) => [{ x: o.chosen_step, ...look(o) }, stopOf(data, o) === null ? null : { x: stopOf(data, o), stop: true, ...look(o) }]).filter(Boolean);
  for (const [box, key, name] of [[boxes.image, "image", "ALIGN-I"], [boxes.text, "text", "ALIGN-T"]]) {
    const points = meanSeries(t, (p) => p[key]);
    lineChart(box, { label: `${name} by step`, height: 190, x: [0, limit], every: data.setup.validation_interval, hatched, dots: true, flags: footFlags, series: [{ color: "var(--ink)", points }],
      lines: (x) => { const p = points.find((q) => q.x === x); return [el("strong", {}, `step ${x}`), `${name} ${number(p.y, 4)}`, Number.isFinite(p.low) ? `standard error ${number((p.high - p.low) / 2, 4)}` : ""]; } });
  }
  const curves = t.outcomes.map((o) => {
    const i = data.rules.findIndex((r) => r.id === o.rule), rule = data.rules[i];
    if (!rule || rule.kind === "last") return null;
    const points = meanSeries(t, (p) => choose.reward(rule.mean, rule.lambda, p.image, p.text)).map((p) => ({ x: p.x, y: p.y }));
    const stop = stopOf(data, o) ?? Infinity;
    return { rule, o, color: ruleColor(i, rule), shape: ruleShape(i, rule), points, read: points.filter((p) => p.x <= stop), rest: points.filter((p) => p.x >= stop) };
  }).filter(Boolean);
  const at = (curve, x) => curve.points.find((p) => p.x === x);
  lineChart(boxes.reward, {
    label: "Mean reward of each rule by step", height: 280, x: [0, limit], every: data.setup.validation_interval, hatched, dots: true,
    series: curves.flatMap((c) => [{ color: c.color, points: c.read }, { color: c.color, points: c.rest, faint: true }]),
    marks: curves.filter((c) => at(c, c.o.chosen_step)).map((c) => ({ x: c.o.chosen_step, y: c.o.chosen_variant ? c.o.reward_chosen : at(c, c.o.chosen_step).y, shape: c.shape, color: c.color })),
    bars: curves.map((c) => ({ x: stopOf(data, c.o), color: c.color, y: at(c, stopOf(data, c.o))?.y })).filter((b) => b.y !== undefined),
    lines: (x) => [el("strong", {}, `step ${x}`), ...curves.map((c) => el("div", {}, glyph(c.shape, c.color), ` ${c.rule.label}: ${number(at(c, x).y, 4)}`))],
  });
  boxes.legend.replaceChildren(legend(data, ["best"]));
  boxes.outcomes.replaceChildren(scrolling("Decisions of the rules", el("table", { class: "plain" },
    el("thead", {}, el("tr", {}, ["Rule", "Chose", "Stopped at", "Reward there", "Gain over step 0", "Why"].map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, t.outcomes.map((o) => {
      const i = data.rules.findIndex((r) => r.id === o.rule), rule = data.rules[i];
      const gain = o.reward_chosen === null || o.reward_step0 === null ? null : o.reward_chosen - o.reward_step0;
      return el("tr", {}, el("th", { scope: "row" }, ruleGlyph(data.rules, i), ` ${rule?.label ?? o.rule}`),
        el("td", {}, `step ${nameOf(o.chosen_step, o.chosen_variant)}`), el("td", {}, stopOf(data, o) === null ? "read to the end" : `step ${stopOf(data, o)}`),
        el("td", {}, number(o.reward_chosen, 4)), el("td", {}, gain === null ? "–" : `${signed(gain, 4)} ${interval(o.difference_interval, 4, signed)}`), el("td", { class: "words" }, o.reason));
    })))));
}

function showLosses(box, data, t) {
  box.closest("section").hidden = !data.trajectories.some((q) => q.training.length);
  const limit = Math.max(t.training.at(-1)?.step ?? 0, 1);
  // A centred running mean over a twentieth of the curve; the points themselves stay visible, faintly.
  const smooth = (points) => {
    const half = Math.max(1, Math.round(points.length / 40));
    return points.map((p, i) => ({ x: p.x, y: mean(points.slice(Math.max(0, i - half), i + half + 1).map((q) => q.y)) }));
  };
  // Steps outside of rounds and in them have other terms.
  const terms = unique(t.training.flatMap((p) => Object.keys(p.terms))).map((name) => [`L_${name}`, (p) => p.terms[name]]);
  const panels = [["Loss", (p) => p.loss], ...terms, ["Norm of the gradient", (p) => p.grad_norm]].map(([name, of]) => {
    const holder = el("div");
    const points = t.training.filter((p) => of(p) !== undefined).map((p) => ({ x: p.step, y: of(p) ?? NaN }));
    queueMicrotask(() => lineChart(holder, { label: name, height: 160, x: [0, limit], series: [{ color: "var(--muted)", points, raw: true }, { color: "var(--ink)", points: smooth(points) }],
      lines: (x) => [el("strong", {}, `step ${x}`), `${name} ${number(points.find((p) => p.x === x).y, 4)}`] }));
    return el("div", { class: "panel" }, el("h4", {}, name), holder);
  });
  box.replaceChildren(...(t.training.length ? panels : [el("p", { class: "note" }, "No training step was taken.")]));
}

const scoresCsv = (data) => [["arm", "subject", "seed", "step", "prompt", "align_i", "align_t", "variant"],
  ...data.trajectories.flatMap((t) => t.validations.flatMap((v) => v.pictures.map((p) => [t.arm, t.subject, t.seed, v.step, t.validation_prompts[p.prompt], p.image, p.text, v.variant ?? ""])))];
function lossesCsv(data) {
  const terms = unique(data.trajectories.flatMap((t) => t.training.flatMap((p) => Object.keys(p.terms))));
  return [["arm", "subject", "seed", "step", "loss", ...terms, "grad_norm"],
    ...data.trajectories.flatMap((t) => t.training.map((p) => [t.arm, t.subject, t.seed, p.step, p.loss, ...terms.map((name) => p.terms[name]), p.grad_norm]))];
}
