// Axes of charts, drawn at their size on screen, so that text keeps its size.

/** Round numbers from low to high, about `wanted` of them. */
function ticks(low, high, wanted) {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

const tickText = (value) => minus(String(Number(value.toPrecision(3))));

/** Ranks to label on an axis of a map: 1, round numbers, the last. */
function rankTicks(last, wanted) {
  if (last <= wanted) return Array.from({ length: last }, (_, i) => i + 1);
  const round = ticks(0, last, wanted - 1).filter(
    (value) => Number.isInteger(value) && value > 0 && last - value > last / 10,
  );
  return [1, ...round.filter((value) => value > last / 12), last];
}

const MARGIN = { left: 40, right: 8, top: 24, bottom: 40 }; // pixels, for the labels of the axes

/**
 * An empty chart: root (SVG), the plotting box in pixels, and x(value), y(value) from data to pixels.
 * The y label stands above its axis, where it reads without turning one's head.
 */
function chart({ width, height, x, y, xTicks, yTicks, xLabel, yLabel, label }) {
  const box = { left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const axes = { box, x: linear(x, box.left, box.right), y: linear(y, box.bottom, box.top) };
  const root = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    yTicks.map((tick) => yTick(axes, tick)),
    xTicks.map((tick) => xTick(axes, tick)),
    svg("text", { x: 0, y: 12 }, yLabel),
    svg("text", { x: (box.left + box.right) / 2, y: height - 6, class: "middle" }, xLabel),
  );
  return { ...axes, root };
}

function linear([low, high], from, to) {
  return (value) => from + ((value - low) / (high - low)) * (to - from);
}

function yTick({ box, y }, { at, text }) {
  const line = svg("line", { x1: box.left, x2: box.right, y1: y(at), y2: y(at), class: "grid-line" });
  return svg("g", {}, line, svg("text", { x: box.left - 7, y: y(at) + 4, class: "tick-text end" }, text));
}

function xTick({ box, x }, { at, text }) {
  const line = svg("line", { x1: x(at), x2: x(at), y1: box.bottom, y2: box.bottom + 4, class: "axis-tick" });
  return svg("g", {}, line, svg("text", { x: x(at), y: box.bottom + 17, class: "tick-text middle" }, text));
}

const tickMarks = (values, text) => values.map((at) => ({ at, text: text(at) }));
const degrees = (value) => `${value}°`;

/**
 * Figures of both sides of the pairs on show: in one row for the only pair, or one row for each side of several.
 * They are drawn once they stand on the page and have a width; `draw(p, side, width)` returns null where there is
 * nothing to draw. `note(p, side)` is a remark for the caption, and `rest` follows the figures.
 */
function drawFigures(id, draw, { note = () => null, rest = [] } = {}) {
  const shown = panels();
  const single = shown.length === 1;
  const sides = single ? SIDES.map((side) => [shown[0], side]) : SIDES.flatMap((side) => shown.map((p) => [p, side]));
  const plots = sides.map(() => h("div"));
  const figures = sides.map(([p, side], index) =>
    h("figure", {}, caption(p, side, single, note(p, side)), plots[index]),
  );
  byId(id).classList.toggle("single", single);
  setStyle(byId(id), { "--columns": String(Math.max(2, shown.length)) });
  fill(id, figures, rest);
  sides.forEach(([p, side], index) => plots[index].append(draw(p, side, plots[index].clientWidth) ?? nothing()));
}

function caption(p, side, single, note) {
  const name = single ? SIDE_NAMES[side] : `${panelName(p)}, ${side}`;
  return h("figcaption", { class: side }, name, note ? h("span", { class: "aside" }, note) : null);
}

const nothing = () => h("p", { class: "missing" }, "Not in both adapters, or zero in one of them.");
