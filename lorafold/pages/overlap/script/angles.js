// Distribution of the principal angles of all modules, against random subspaces.

function drawHistograms() {
  const note = (p, side) => {
    const data = PAIRS[p][side].histogram;
    return data && plural(data.angles, "angle");
  };
  drawFigures("histograms", histogram, { note });
}

/** Both sides of a pair share a scale; pairs do not: after a merge most angles may be 0. */
function histogramTop(p) {
  const shares = SIDES.flatMap((side) => {
    const { found = [], random = [] } = PAIRS[p][side].histogram ?? {};
    return [...found, ...random];
  });
  return largest(shares, 0.01) * 1.06;
}

function histogram(p, side, width) {
  const data = PAIRS[p][side].histogram;
  if (!data) return null;
  const { bin, found, random } = data;
  const top = histogramTop(p);
  const axes = chart({
    width,
    height: 240,
    x: [0, 90],
    y: [0, top],
    xTicks: tickMarks([0, 15, 30, 45, 60, 75, 90], degrees),
    yTicks: tickMarks(ticks(0, top, 4), percent),
    xLabel: "principal angle θ, degrees",
    yLabel: `share of the angles per ${tickText(bin)}°`,
    label: `Distribution of principal angles, ${side}, ${pairName(p)}`,
  });
  axes.root.append(...found.map((_, index) => bar(axes, data, index, side)), chanceLine(axes, bin, random));
  return axes.root;
}

const percent = (share) => `${tickText(100 * share)} %`;

function bar({ x, y }, { bin, found, random }, index, side) {
  const [share, from, to] = [found[index], index * bin, (index + 1) * bin];
  const place = { x: x(from) + 0.5, width: Math.max(0.5, x(to) - x(from) - 1), y: y(share), height: y(0) - y(share) };
  const words = `${tickText(from)}–${tickText(to)}°: ${percent(share)}, random subspaces ${percent(random[index])}`;
  return svg("rect", { ...place, class: `bar-${side}` }, svg("title", {}, words));
}

function chanceLine({ x, y }, bin, random) {
  const points = random.flatMap((share, index) => [
    `${x(index * bin)},${y(share)}`,
    `${x((index + 1) * bin)},${y(share)}`,
  ]);
  return svg("polyline", { class: "chance-line", points: points.join(" ") });
}

view(["pair", "width"], drawHistograms);
