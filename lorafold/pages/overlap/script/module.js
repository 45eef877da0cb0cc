// The chosen module: what it is, its phi(i, j) maps, principal angles and distances.

const DISTANCE_NAMES = {
  geodesic: "geodesic, rad",
  chordal: "chordal",
  procrustes: "procrustes",
  asimov: "asimov, rad",
  spectral: "spectral",
  binet_cauchy: "Binet–Cauchy",
  fubini_study: "Fubini–Study, rad",
  martin: "Martin",
};

function drawModule() {
  const m = state.module;
  fill("module-name", breakable(MODULES.name[m] ?? ""));
  fill("position", `${integer(m + 1)} of ${integer(COUNT)}`);
  fill(
    "module-facts",
    facts([
      ["block", MODULES.group[m] ?? DASH],
      ["kind", MODULES.kind[m] ?? DASH],
      ["shape (out × in)", joined(MODULES.shape[m], " × ")],
      ["ranks", joined(MODULES.ranks[m], ", ")],
      ["numerical ranks", joined(MODULES.numerical_ranks[m], ", ")],
      ["‖ΔW‖", joined(MODULES.norms[m]?.map(short), ", ")],
    ]),
  );
  drawGrids();
  drawModuleAngles();
}

function drawGrids() {
  const { module: m, gridMode: mode } = state;
  const grids = panels().flatMap((p) => SIDES.map((side) => gridOf(p, side, m)).filter(Boolean));
  const top = gridTop(grids, mode);
  fill("grid-legend", grids.length ? legend(top, mode === "excess" ? "φ − random" : "φ") : []);
  fill("grid-readout");
  drawFigures("grids", (p, side, width) => {
    const grid = gridOf(p, side, m);
    const onread = (row, column) => readGrid(grid, p, side, row, column);
    return grid && heatmap({ grid, p, side, mode, top, width, onread });
  });
}

function readGrid(grid, p, side, row, column) {
  const where = `${pairName(p)}, ${side}: φ(${grid.i(row)}, ${grid.j(column)})`;
  fill("grid-readout", `${where} = ${overlap(grid.phi(row, column))}, random ${overlap(grid.random(row, column))}`);
}

function drawModuleAngles() {
  const { module: m } = state;
  const rest = panels().map((p) => moduleNumbers(p, m));
  drawFigures("module-angles", (p, side, width) => angleChart(p, side, m, width), { rest });
}

function angleChart(p, side, m, width) {
  const angles = anglesOf(p, side, m);
  if (!angles) return null;
  const count = angles.length;
  const axes = chart({
    width,
    height: 230,
    x: [0.5, count + 0.5],
    y: [0, 90],
    xTicks: tickMarks(rankTicks(count, 8), String),
    yTicks: tickMarks([0, 30, 60, 90], degrees),
    xLabel: "angle number j, ascending",
    yLabel: "principal angle θ, degrees",
    label: `Principal angles, ${side}, ${pairName(p)}`,
  });
  const band = bandOf(p, side, m);
  const r = Math.max(1.5, Math.min(3.5, (axes.x(2) - axes.x(1)) / 3));
  const dot = (angle, j) => svg("circle", { cx: axes.x(j + 1), cy: axes.y(angle), r, class: `dot ${side}` });
  axes.root.append(...(band ? [bandShape(axes, band)] : []), ...angles.map(dot));
  return axes.root;
}

/** Over all angle numbers, and half a step further at both ends. */
function bandShape({ x, y }, [low, high]) {
  const last = low.length + 0.5;
  const points = (values) =>
    [values[0], ...values, values.at(-1)].map((value, j) => `${x(Math.min(last, Math.max(0.5, j)))},${y(value)}`);
  return svg("polygon", { class: "band", points: [...points(low), ...points(high).reverse()].join(" ") });
}

function moduleNumbers(p, m) {
  const side = (key) => SIDES.map((name) => measure(p, name, key, m));
  const rows = [
    ["dimensions k, l", SIDES.map((name) => joined([measure(p, name, "k", m), measure(p, name, "l", m)], ", "))],
    ["φ(k, l)", side("phi").map(overlap)],
    ...(nullKind(p) ? nullRows(p, side) : []),
    ["mean of φ(i, j)", side("phi_grid_mean").map(overlap)],
    ["random subspaces, max(k, l) / n", side("random").map(overlap)],
    ["z, random", side("random_z").map(score)],
    ["p adjusted, random", side("random_p_adjusted").map(probability)],
    ...distanceRows(p, m),
  ];
  const twoSided = rows.map(([name, values]) =>
    tableRow(
      rowName(name),
      values.map((value) => h("td", {}, value)),
    ),
  );
  const both = (name, value) => tableRow(rowName(name), h("td", { colspan: 2 }, value));
  return h(
    "table",
    { class: "numbers" },
    panels().length > 1 ? h("caption", {}, panelName(p)) : null,
    h(
      "thead",
      {},
      tableRow(
        h("td"),
        SIDES.map((name) => columnName(name, { class: name })),
      ),
    ),
    h("tbody", {}, twoSided),
    h(
      "tbody",
      {},
      both("cosine of the updates", cosine(PAIRS[p].cosine[m])),
      both("norm ratio", short(PAIRS[p].norm_ratio[m])),
    ),
  );
}

/** Beside the panel, or mismatched layers. */
function nullRows(p, side) {
  const directions = side("null_k").map((k, index) => joined([k, side("null_l")[index]], ", "));
  return [
    [`${nullKind(p)}: leading directions`, directions],
    ["φ of these", side("null_phi").map(overlap)],
    ["median of the null", side("null_median").map(overlap)],
    ["draws n", side("null_draws").map((n) => integer(n))],
    ["effect, in spreads of the null", side("effect").map(score)],
    ["p", side("p").map(probability)],
    ["p adjusted", side("p_adjusted").map(probability)],
  ];
}

function distanceRows(p, m) {
  const names = new Set(SIDES.flatMap((side) => Object.keys(PAIRS[p][side].distances)));
  return [...names].map((name) => [
    `distance: ${DISTANCE_NAMES[name] ?? name}`,
    SIDES.map((side) => short(PAIRS[p][side].distances[name]?.[m])),
  ]);
}

view(["pair", "module", "dark", "width"], drawModule);
view(["gridMode"], drawGrids);
