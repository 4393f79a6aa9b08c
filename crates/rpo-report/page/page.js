// Puts the sections together and follows the choice of subject, arm and seed.
"use strict";

// The list of contents names what is there.
function listContents() {
  for (const link of document.querySelectorAll("#contents a")) link.parentElement.hidden = Boolean(document.querySelector(link.getAttribute("href"))?.closest("[hidden]"));
}

function start() {
  const data = JSON.parse(byId("data").textContent);
  showResults(byId("test-table"), data);
  showKinds(byId("kinds"), data);
  showCosts(byId("costs"), data);
  showPublished(byId("published"), data);
  if (!data.trajectories.length) {
    for (const node of document.querySelectorAll(".needs-trajectory")) node.hidden = true;
    return listContents();
  }
  const arms = unique(data.trajectories.map((t) => t.arm));
  const seeds = unique(data.trajectories.map((t) => t.seed));
  const subjects = unique(data.trajectories.map((t) => t.subject));
  let current = data.trajectories[0];
  // Which seed's lines are drawn over all subjects; null: all.
  let seedShown = null;

  const boxes = (...names) => Object.fromEntries(names.map(([key, id]) => [key, byId(id)]));
  const validation = boxes(["image", "chart-image"], ["text", "chart-text"], ["reward", "chart-reward"], ["legend", "reward-legend"], ["outcomes", "outcomes"]);
  const dialBoxes = boxes(["chart", "dial-chart"], ["said", "dial-said"], ["strip", "dial-strip"], ["band", "dial-band"]);
  buildDial(byId("dial-controls"), data, () => showDial(dialBoxes, data, current));

  const tables = {
    "subjects-figure": data.test ? () => subjectsCsv(data.test) : null, "timeline-figure": () => outcomesCsv(data),
    "reward-figure": () => scoresCsv(data), "losses-figure": () => lossesCsv(data),
  };
  for (const figure of document.querySelectorAll("figure[id]")) saveButtons(figure, data.name, figure.id.replace("-figure", ""), tables[figure.id]);

  // The trajectory nearest to the wish: not every arm need have every seed.
  const find = (subject, arm, seed) => {
    const fits = (t) => 4 * (t.subject === subject) + 2 * (t.arm === arm) + (t.seed === seed);
    return data.trajectories.reduce((best, t) => (fits(t) > fits(best) ? t : best));
  };
  const select = (t) => { current = t; draw(); };

  // The choosers are built once: a control that is being used must stay.
  const faces = subjects.map((s) => {
    const face = data.trajectories.find((t) => t.subject === s && t.references.length)?.references[0];
    return el("button", { type: "button", onclick: () => select(find(s, current.arm, current.seed)) },
      face === undefined ? null : el("img", { src: data.pictures[face].split("#")[0], alt: "" }), el("span", {}, s));
  });
  const row = el("div", { class: "subjects", role: "group", "aria-label": "Subject" }, faces);
  const menus = [
    [arms, (t) => t.arm, menu("Arm", arms.map((a) => [a, a || "–"]), current.arm, (a) => select(find(current.subject, a, current.seed)), { id: "arm" })],
    [seeds, (t) => t.seed, menu("Seed", seeds.map((s) => [s, s]), current.seed, (s) => select(find(current.subject, current.arm, s)), { id: "seed" })],
  ].filter(([values]) => values.length > 1);
  byId("chooser").replaceChildren(row, el("div", { class: "menus" }, menus.map(([, , node]) => node)));
  if (seeds.length > 1) {
    byId("seed-filter").replaceChildren(menu("Lines of", [[null, "all seeds"], ...seeds.map((s) => [s, `seed ${s}`])], null, (s) => { seedShown = s; drawAll(); }, { id: "seeds-shown" }));
  }

  function markChooser() {
    faces.forEach((button, i) => button.setAttribute("aria-pressed", String(subjects[i] === current.subject)));
    for (const [values, of, node] of menus) node.querySelector("select").selectedIndex = values.indexOf(of(current));
    const pressed = faces[subjects.indexOf(current.subject)];
    if (pressed.offsetLeft < row.scrollLeft || pressed.offsetLeft + pressed.offsetWidth > row.scrollLeft + row.clientWidth) row.scrollLeft = pressed.offsetLeft - 20;
    const keys = data.arms?.find((a) => a.name === current.arm)?.keys ?? [];
    byId("arm-keys").textContent = keys.length ? `${current.arm} changes ${keys.join(", ")}` : "";
    byId("arm-keys").hidden = !keys.length;
    for (const node of document.querySelectorAll(".current-name")) {
      const arm = arms.length > 1 && !node.matches(".every-arm") ? current.arm || "–" : null;
      node.textContent = [current.subject, arm, seeds.length > 1 ? `seed ${current.seed}` : null].filter(Boolean).join(" · ");
    }
    for (const node of document.querySelectorAll(".arm-name")) node.textContent = arms.length > 1 ? `${current.arm || "without a name"}. ` : "";
  }

  // What is drawn over all subjects of an arm.
  function drawAll() {
    const look = { arm: current.arm, seed: seedShown, current };
    showSubjects(byId("subjects"), data, look);
    showTimeline(byId("timeline"), data, look, select);
  }

  function draw() {
    tip.hide();
    markChooser();
    drawAll();
    byId("timeline-legend").replaceChildren(legend(data));
    showReferences(byId("references"), data, current);
    showStrip(byId("strip"), data, current);
    showValidation(validation, data, current);
    showDial(dialBoxes, data, current);
    showSamples(byId("samples"), data, current, arms);
    showLosses(byId("losses"), data, current);
    listContents();
  }
  draw();
}

// On paper there is nothing to unfold.
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details")) d.open = true; });

start();
