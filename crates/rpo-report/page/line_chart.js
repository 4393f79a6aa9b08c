// Lines over the steps of a training.
"use strict";

function flags(list, x, top, foot, room) {
  const groups = new Map();
  for (const flag of list) groups.set(flag.x, [...(groups.get(flag.x) || []), flag]);
  return [...groups].map(([at, group]) => svg("g", {},
    group.some((f) => !f.stop) ? svg("line", { x1: x(at), x2: x(at), y1: top, y2: foot, class: "flag" }) : null,
    group.map((f, k) => {
      const px = x(at) + (k - (group.length - 1) / 2) * Math.min(11, room / group.length);
      return f.stop ? svg("line", { x1: px, x2: px, y1: foot - 13, y2: foot - 2, class: "stop", style: `stroke:${f.color}` })
        : shape(f.shape, px, foot - 9, 4.6, { class: "mark", style: `fill:${f.color}` });
    })));
}

// A line chart. `series`: {label, color, points: [{x, y, low, high}], faint}; `every`: distance of ticks;
// `marks`: {x, y, shape, color};
// `bars`: {x, y, color}, short upright lines; `flags`: the same at the foot of the chart, several at one x
// side by side, with `stop` for a bar instead of a shape; `hatched`: [from, to, label]; `lines(x)`: the note at x.
function lineChart(box, spec) {
  mount(box, (width) => {
    const height = spec.height || 220;
    const values = spec.series.flatMap((s) => s.points.flatMap((p) => [p.y, p.low, p.high])).filter(Number.isFinite);
    const axis = valueAxis(values, (height - 48) / 36, 0.08);
    // Flags need room at the foot.
    const high = axis.high, low = axis.low - (spec.flags ? 0.11 * (axis.high - axis.low) : 0);
    // Flags of the last step stand side by side, too.
    const last = (spec.flags || []).filter((f) => f.x === spec.x[1]).length;
    const margin = { left: axis.room + 14, right: Math.max(14, textWidth(spec.x[1]) / 2 + 4, 5.5 * (last - 1) + 8), top: 12, bottom: 36 };
    const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
    const x = (v) => margin.left + ((v - spec.x[0]) / (spec.x[1] - spec.x[0] || 1)) * inner.width;
    const y = (v) => margin.top + (1 - (v - low) / (high - low)) * inner.height;
    const stepTicks = ticksAt(spec.x[1], spec.every, inner.width);

    const path = (points) => points.filter((p) => Number.isFinite(p.y)).map((p, i) => `${i ? "L" : "M"}${x(p.x).toFixed(1)},${y(p.y).toFixed(1)}`).join("");
    const band = (points) => {
      const p = points.filter((q) => Number.isFinite(q.low));
      return p.length < 2 ? null : `M${p.map((q) => `${x(q.x).toFixed(1)},${y(q.high).toFixed(1)}`).join("L")}L${p.reverse().map((q) => `${x(q.x).toFixed(1)},${y(q.low).toFixed(1)}`).join("L")}Z`;
    };
    const guide = svg("line", { y1: margin.top, y2: margin.top + inner.height, class: "guide", visibility: "hidden" });
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": spec.label, tabindex: 0, class: "chart" },
      gridLines(axis, y, margin.left, width - margin.right),
      stepTicks.map((t) => svg("text", { x: x(t), y: height - margin.bottom + 18, "text-anchor": "middle", class: "label" }, t)),
      svg("text", { x: width - margin.right, y: height - 3, "text-anchor": "end", class: "label quiet" }, spec.xLabel || "step"),
      spec.hatched && spec.hatched[1] > spec.hatched[0]
        ? hatch(x(spec.hatched[0]), margin.top, x(spec.hatched[1]) - x(spec.hatched[0]), inner.height, spec.hatched[2]) : null,
      svg("line", { x1: margin.left, x2: width - margin.right, y1: margin.top + inner.height, y2: margin.top + inner.height, class: "axis" }),
      spec.series.map((s) => s.points.some((p) => Number.isFinite(p.low)) ? svg("path", { d: band(s.points), class: "band", style: `fill:${s.color}` }) : null),
      guide,
      spec.series.map((s) => svg("path", { d: path(s.points), class: s.raw ? "raw" : s.faint ? "line faint" : "line", style: `stroke:${s.color}` })),
      spec.dots ? spec.series.map((s) => s.points.map((p) => Number.isFinite(p.y) ? svg("circle", { cx: x(p.x), cy: y(p.y), r: 2.2, class: s.faint ? "dot faint" : "dot", style: `fill:${s.color}` }) : null)) : null,
      flags(spec.flags || [], x, margin.top, margin.top + inner.height, spec.every ? 0.85 * (x(spec.every) - x(0)) : 99),
      (spec.bars || []).map((b) => svg("line", { x1: x(b.x), x2: x(b.x), y1: y(b.y) - 9, y2: y(b.y) + 9, class: "stop", style: `stroke:${b.color}` })),
      (spec.marks || []).map((m) => shape(m.shape, x(m.x), y(m.y), 6, { class: "mark", style: `fill:${m.color}` })));

    const xs = unique(spec.series.flatMap((s) => s.points.map((p) => p.x))).sort((a, b) => a - b);
    let at = 0;
    const point = (value, clientX, clientY) => {
      guide.setAttribute("x1", x(value)); guide.setAttribute("x2", x(value)); guide.setAttribute("visibility", "visible");
      tip.show(spec.lines(value), clientX, clientY);
    };
    const hide = () => { guide.setAttribute("visibility", "hidden"); tip.hide(); };
    if (spec.lines && xs.length) {
      chart.addEventListener("pointermove", (e) => {
        const r = chart.getBoundingClientRect();
        const px = (e.clientX - r.left) * (width / r.width);
        at = xs.reduce((best, v, i) => (Math.abs(x(v) - px) < Math.abs(x(xs[best]) - px) ? i : best), 0);
        point(xs[at], e.clientX, e.clientY);
      });
      chart.addEventListener("keydown", (e) => {
        const move = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
        if (!move) return;
        e.preventDefault();
        at = Math.max(0, Math.min(xs.length - 1, at + move));
        const r = chart.getBoundingClientRect();
        point(xs[at], r.left + (x(xs[at]) * r.width) / width, r.top + 20);
      });
      chart.addEventListener("pointerleave", hide);
      chart.addEventListener("blur", hide);
    }
    return chart;
  });
}
