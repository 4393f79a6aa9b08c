// Chooses again: any λ, mean and patience over the stored validation scores, without training again.
"use strict";

const dial = { lambda: 0.5, mean: "harmonic", patience: null };

function chooseAgain(t, lambda) {
  const rewards = t.validations.map((v) => choose.meanReward(v.pictures, dial.mean, lambda));
  return { rewards, ...choose.decide(rewards, t.validations.map((v) => v.step), dial.patience) };
}

// Which step wins for every λ, as a band; the dial's own λ is marked.
function showBand(box, data, t) {
  mount(box, (width) => {
    const left = 50, right = 14, height = 74, top = 8, bar = 26;
    const inner = width - left - right;
    const limit = Math.max(data.setup.steps, 1);
    const runs = [];
    for (let k = 0; k <= 100; k++) {
      const { step, variant } = t.validations[chooseAgain(t, k / 100).chosen], name = nameOf(step, variant);
      if (runs.at(-1)?.name === name) runs.at(-1).to = k; else runs.push({ step, name, from: k, to: k });
    }
    const x = (k) => left + (Math.max(0, Math.min(100, k)) / 100) * inner;
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": "Step chosen for every λ" },
      runs.map((r) => svg("g", {},
        svg("rect", { x: x(r.from - 0.5), y: top, width: Math.max(0.5, x(r.to + 0.5) - x(r.from - 0.5) - 1), height: bar, class: "run", style: `fill-opacity:${(0.12 + 0.5 * (r.step / limit)).toFixed(3)}` }),
        x(r.to + 0.5) - x(r.from - 0.5) > 12 + 6 * r.name.length ? svg("text", { x: (x(r.from - 0.5) + x(r.to + 0.5)) / 2, y: top + bar / 2, dy: "0.34em", "text-anchor": "middle", class: "label strong" }, r.name) : null)),
      [0, 0.25, 0.5, 0.75, 1].map((v) => svg("text", { x: x(v * 100), y: top + bar + 18, "text-anchor": "middle", class: "label" }, v)),
      svg("text", { x: left - 8, y: top + bar / 2, dy: "0.34em", "text-anchor": "end", class: "label" }, "step"),
      svg("text", { x: width - right, y: height - 6, "text-anchor": "end", class: "label quiet" }, "λ · text alone ← → image alone"),
      svg("line", { x1: x(dial.lambda * 100), x2: x(dial.lambda * 100), y1: top - 5, y2: top + bar + 5, class: "needle" }));
  });
}

function showDial(boxes, data, t) {
  if (!t.validations.length || !t.validations.every((v) => v.pictures.length)) {
    boxes.said.replaceChildren("Nothing was scored on this trajectory.");
    for (const box of [boxes.chart, boxes.strip, boxes.band]) unmount(box);
    return;
  }
  const { rewards, chosen, stopped } = chooseAgain(t, dial.lambda);
  const steps = t.validations.map((v) => v.step);
  const lastStep = steps.at(-1), limit = Math.max(data.setup.steps, lastStep, 1);
  const step = steps[chosen], name = nameOf(step, t.validations[chosen].variant), end = stopped === null ? lastStep : steps[stopped];
  const points = steps.map((x, i) => ({ x, y: rewards[i] })).filter((_, i) => !t.validations[i].variant);
  lineChart(boxes.chart, {
    label: "Mean reward under the chosen λ and mean, by step", height: 240, x: [0, limit], every: data.setup.validation_interval, hatched: [lastStep, limit, "not scored"], dots: true,
    series: [{ color: "var(--accent)", points: points.filter((p) => p.x <= end) }, { color: "var(--accent)", points: points.filter((p) => p.x >= end), faint: true }],
    marks: [{ x: step, y: rewards[chosen], shape: "circle", color: "var(--accent)" }],
    bars: stopped === null ? [] : [{ x: steps[stopped], y: rewards[stopped], color: "var(--accent)" }],
    lines: (x) => [el("strong", {}, `step ${x}`), ...t.validations.flatMap((v, i) => v.step === x ? [el("div", {}, `${v.variant ? `${v.variant}: ` : ""}reward ${number(rewards[i], 4)}`)] : [])],
  });
  const variant = t.validations[chosen].variant;
  const kept = variant ? (t.kept_variants ?? []).some(([s, v]) => s === step && v === variant) : t.kept_steps.includes(step);
  boxes.said.replaceChildren(
    el("strong", {}, `λ = ${dial.lambda.toFixed(2)}, ${dial.mean}, ${dial.patience === null ? "no early stop" : `patience ${dial.patience}`}: step ${name}.`),
    ` Mean reward ${number(rewards[chosen], 4)}, ${signed(rewards[chosen] - rewards[0], 4)} against step 0. `,
    stopped !== null ? `It stops at step ${steps[stopped]}. `
      : lastStep < limit ? `It had not stopped when the scores end at step ${lastStep}: what a longer training would have given is not known. ` : `It reads to the end. `,
    kept ? "These weights were kept." : step === 0 ? "Step 0 is the base model." : "These weights were not kept: it would have to be trained again.");
  const show = !t.strip_prompts.length ? [] : [[0, "step 0"], [chosen, `chosen: step ${name}`], [steps.length - 1, `last scored: step ${lastStep}`]];
  boxes.strip.replaceChildren(...show.map(([i, title], k) => el("div", { class: k === 1 ? "column chosen" : "column" }, el("h4", {}, title),
    el("div", { class: "row" }, t.validations[i].strip.map((p, j) => picture(data, p, `${t.strip_prompts[j] ?? ""} · step ${steps[i]}`, 96))))));
  showBand(boxes.band, data, t);
}

function buildDial(box, data, redraw) {
  const best = data.rules.find((r) => r.kind === "best");
  if (best) Object.assign(dial, { lambda: best.lambda, mean: best.mean, patience: best.patience });
  const value = el("output", { for: "lambda", id: "lambda-value" }, dial.lambda.toFixed(2));
  const range = el("input", { type: "range", id: "lambda", min: 0, max: 1, step: 0.01, value: dial.lambda,
    oninput: () => { dial.lambda = Number(range.value); value.textContent = dial.lambda.toFixed(2); redraw(); } });
  range.value = dial.lambda;
  const radio = (name, options, current, set) => el("fieldset", {}, el("legend", {}, name), el("div", { class: "switch" }, options.map(([id, text]) =>
    el("label", {}, el("input", { type: "radio", name: `dial-${name}`, value: String(id), checked: id === current, onchange: () => { set(id); redraw(); } }), el("span", {}, text)))));
  const patiences = [[1, "1"], [2, "2"], [3, "3"], [5, "5"], [null, "none"]];
  if (dial.patience !== null && !patiences.some(([p]) => p === dial.patience)) patiences.splice(-1, 0, [dial.patience, String(dial.patience)]);
  box.replaceChildren(
    el("div", { class: "lambda" }, el("label", { for: "lambda" }, "λ ", value), el("div", { class: "ends" }, el("span", {}, "text"), range, el("span", {}, "image"))),
    radio("mean", [["harmonic", "harmonic"], ["arithmetic", "arithmetic"], ["geometric", "geometric"]], dial.mean, (m) => { dial.mean = m; }),
    radio("patience", patiences, dial.patience, (p) => { dial.patience = p; }));
}
