// N x N: phi left and right with that of random subspaces, and the cosine, of every pair of adapters.

function drawMatrices() {
  const several = ADAPTERS.length > 2 && DATA.phi_matrix;
  byId("matrices").hidden = byId("matrices-link").hidden = !several;
  if (!several) return;
  byId("matrices-hint").hidden = CHOICES.length < 2;
  const { phi_matrix: phi, random_matrix: random, cosine_matrix: cosines } = DATA;
  const top = largest([...offDiagonal(phi.left), ...offDiagonal(phi.right)], 0.01);
  const extreme = largest(offDiagonal(cosines).map(Math.abs), 1e-6);
  const ofSide = (side) =>
    matrix(
      `φ ${side}`,
      phi[side],
      (value) => rampRgb(value / top),
      overlap,
      (i, j) => random?.[side]?.[i]?.[j],
    );
  const ofCosines = matrix("cosine of the updates", cosines, (value) => signedRgb(value / extreme), cosine);
  fill("matrix-tables", SIDES.map(ofSide), ofCosines);
}

function offDiagonal(rows) {
  return (rows ?? []).flatMap((row, i) => row.filter((value, j) => i !== j && value !== null));
}

function matrix(title, rows, colour, text, level = () => null) {
  const cell = (value, i, j) => (i === j ? h("td", { class: "empty" }) : matrixCell(i, j, value, colour, text, level));
  const body = (rows ?? []).map((row, i) =>
    tableRow(
      rowName(ADAPTERS[i].label),
      row.map((value, j) => cell(value, i, j)),
    ),
  );
  const head = tableRow(
    h("td"),
    ADAPTERS.map((adapter) => columnName(adapter.label)),
  );
  const table = h("table", {}, h("caption", {}, title), h("thead", {}, head), h("tbody", {}, body));
  return h("div", { class: "matrix" }, table);
}

function matrixCell(i, j, value, colour, text, levelOf) {
  if (value == null) return h("td", { class: "empty" }, DASH);
  const rgb = colour(value);
  const level = levelOf(i, j);
  const content = [text(value), level == null ? null : h("small", {}, overlap(level))];
  const p = findPair(i, j);
  const chosen = CHOICES.length > 1 && p === state.pair;
  const inside = CHOICES.length > 1 && CHOICES.includes(p) ? pairButton(p, chosen, content) : h("span", {}, content);
  return h("td", { style: { background: css(rgb), color: inkOn(rgb) }, class: chosen ? "chosen" : null }, inside);
}

function pairButton(p, chosen, content) {
  const state = { "aria-pressed": String(chosen), title: `look at ${pairName(p)}` };
  return h("button", { type: "button", ...state, onclick: () => choosePair(p) }, content);
}

view(["pair", "dark"], drawMatrices);
