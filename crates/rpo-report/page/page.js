// Puts the sections together and follows the choice of subject, arm and seed.
"use strict";

function start() {
  const data = JSON.parse(byId("data").textContent);
  showResults(byId("results"), data);
  if (!data.trajectories.length) {
    for (const node of document.querySelectorAll(".needs-trajectory")) node.hidden = true;
    return;
  }
  const unique = (values) => [...new Set(values)];
  const arms = unique(data.trajectories.map((t) => t.arm));
  const seeds = unique(data.trajectories.map((t) => t.seed));
  const subjects = unique(data.trajectories.map((t) => t.subject));
  let current = data.trajectories[0];

  const boxes = (...names) => Object.fromEntries(names.map(([key, id]) => [key, byId(id)]));
  const validation = boxes(["image", "chart-image"], ["text", "chart-text"], ["reward", "chart-reward"], ["legend", "reward-legend"], ["outcomes", "outcomes"]);
  const dialBoxes = boxes(["chart", "dial-chart"], ["said", "dial-said"], ["strip", "dial-strip"], ["band", "dial-band"]);
  buildDial(byId("dial-controls"), data, () => showDial(dialBoxes, data, current));

  // The trajectory nearest to the wish: not every arm need have every seed.
  const find = (subject, arm, seed) => {
    const fits = (t) => 4 * (t.subject === subject) + 2 * (t.arm === arm) + (t.seed === seed);
    return data.trajectories.reduce((best, t) => (fits(t) > fits(best) ? t : best));
  };
  const select = (t) => { current = t; draw(); };
  const menu = (name, values, value, choose) => values.length < 2 ? null : el("label", {}, `${name} `, el("select", { onchange: (e) => choose(values[e.target.selectedIndex]) },
    values.map((v) => el("option", { selected: v === value }, v === "" ? "–" : v))));

  function drawChooser() {
    const face = (subject) => data.trajectories.find((t) => t.subject === subject && t.references.length)?.references[0];
    const box = byId("chooser");
    const scroll = box.querySelector(".subjects")?.scrollLeft ?? 0;
    box.replaceChildren(
      el("div", { class: "subjects", role: "group", "aria-label": "Subject" }, subjects.map((s) => el("button", {
        type: "button", "aria-pressed": String(s === current.subject), onclick: () => select(find(s, current.arm, current.seed)) },
        face(s) === undefined ? null : el("img", { src: data.pictures[face(s)].split("#")[0], alt: "" }), el("span", {}, s)))),
      el("div", { class: "menus" }, ...[menu("Arm", arms, current.arm, (a) => select(find(current.subject, a, current.seed))),
        menu("Seed", seeds, current.seed, (s) => select(find(current.subject, current.arm, s)))].filter(Boolean)));
    const list = box.querySelector(".subjects");
    list.scrollLeft = scroll;
    const pressed = list.querySelector("[aria-pressed=true]");
    if (pressed.offsetLeft < list.scrollLeft || pressed.offsetLeft + pressed.offsetWidth > list.scrollLeft + list.clientWidth) list.scrollLeft = pressed.offsetLeft - 20;
  }

  function draw() {
    tip.hide();
    drawChooser();
    for (const node of document.querySelectorAll(".arm-name")) node.textContent = arms.length > 1 ? `${current.arm || "without a name"}. ` : "";
    showSubjects(byId("subjects"), data, current.arm);
    showTimeline(byId("timeline"), data, current.arm, current, select);
    byId("timeline-legend").replaceChildren(legend(data));
    showReferences(byId("references"), data, current);
    showStrip(byId("strip"), data, current);
    showValidation(validation, data, current);
    showDial(dialBoxes, data, current);
    showSamples(byId("samples"), data, current);
    showLosses(byId("losses"), data, current);
  }
  draw();
}

// On paper there is nothing to unfold.
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });

start();
