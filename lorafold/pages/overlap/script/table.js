// All modules as a table that sorts and filters.

function sideColumns(side) {
  const column = (key, label, text) => ({
    key: `${key}-${side}`,
    label,
    side,
    value: (m) => measure(state.tablePair, side, key, m),
    text,
  });
  const random = [column("random", "random", overlap), column("random_z", "z", score)];
  const beside = [column("null_phi", "φ leading", overlap), column("null_median", "null", overlap)];
  return [
    column("phi", "φ", overlap),
    ...(HAS_NULL ? [...beside, column("effect", "effect", score)] : random),
    column(HAS_NULL ? "p_adjusted" : "random_p_adjusted", "p adjusted", probability),
  ];
}

const shapeText = (m) => joined(MODULES.shape[m], "×");
const ranksText = (m) => joined(MODULES.ranks[m], ", ");
const ofPair = (key) => (m) => PAIRS[state.tablePair][key][m];

/** `value` sorts, `text(value, m)` is shown; of `words` the value itself. */
const COLUMNS = [
  { key: "name", label: "module", words: true, value: (m) => MODULES.name[m] },
  { key: "group", label: "block", words: true, value: (m) => MODULES.group[m] },
  { key: "kind", label: "kind", words: true, value: (m) => MODULES.kind[m] },
  { key: "shape", label: "shape", title: "out × in", value: area, text: (_, m) => shapeText(m) },
  { key: "ranks", label: "ranks", title: "of the adapters", value: highestRank, text: (_, m) => ranksText(m) },
  ...SIDES.flatMap(sideColumns),
  { key: "cosine", label: "cosine", title: "of the updates", value: ofPair("cosine"), text: cosine },
  { key: "norm_ratio", label: "norm ratio", title: "second to first", value: ofPair("norm_ratio"), text: short },
];

const moduleRows = []; // by module

function area(m) {
  const [rows, columns] = MODULES.shape[m] ?? [];
  return rows * columns || null;
}

function highestRank(m) {
  return largest(MODULES.ranks[m] ?? []);
}

function drawTable() {
  const shown = panels();
  byId("table-choice").hidden = shown.length < 2;
  const options = shown.map((p) => h("option", { value: p, selected: p === state.tablePair }, panelName(p)));
  fill("table-pair", options);
  fillTableHead();
  moduleRows.splice(0, Infinity, ...MODULES.name.map((_, m) => moduleRow(m)));
  sortTable();
  filterTable();
  markRow();
}

function fillTableHead() {
  const count = COLUMNS.filter(({ side }) => !side).length - 2; // before the sides; two columns follow them
  const blank = (colspan) => h("td", { colspan });
  const own = COLUMNS.filter((column) => column.side === SIDES[0]).length;
  const over = (side) => h("th", { scope: "colgroup", colspan: own, class: `over ${side}` }, `${side} subspaces`);
  const name = ({ key, label, title, words }) => {
    const button = h("button", { type: "button", onclick: () => sortBy(key) }, label);
    return columnName(button, { class: words ? null : "number", "data-key": key, title });
  };
  const rows = [tableRow(blank(count), SIDES.map(over), blank(2)), tableRow(COLUMNS.map(name))];
  byId("modules").tHead.replaceChildren(...rows);
}

function moduleRow(m) {
  const [name, ...others] = COLUMNS;
  const button = h("button", { type: "button", onclick: () => showModule(m) }, breakable(name.value(m)));
  const cell = ({ value, text, words }) =>
    h("td", { class: words ? null : "number" }, words ? (value(m) ?? DASH) : text(value(m), m));
  return tableRow(rowName(button), others.map(cell));
}

function showModule(m) {
  set({ module: m });
  byId("module").scrollIntoView({ block: "start" });
  byId("module-title").focus({ preventScroll: true });
}

/** First press: largest first for numbers, A to Z for words; second press: the other way round. */
function sortBy(key) {
  const { words } = COLUMNS.find((column) => column.key === key);
  set({ sort: { key, down: state.sort.key === key ? !state.sort.down : !words } });
}

function sortTable() {
  const { key, down } = state.sort;
  const column = COLUMNS.find((candidate) => candidate.key === key);
  const order = [...moduleRows.keys()];
  if (column) order.sort(comparison(order.map(column.value), down));
  byId("modules").tBodies[0].replaceChildren(...order.map((m) => moduleRows[m]));
  for (const cell of byId("modules").tHead.querySelectorAll("th")) {
    if (cell.dataset.key === key) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
}

function filterTable() {
  const words = wordsOf(state.filter);
  let visible = 0;
  moduleRows.forEach((row, m) => {
    row.hidden = !hasAll([MODULES.name[m], MODULES.group[m], MODULES.kind[m]].join(" "), words);
    visible += row.hidden ? 0 : 1;
  });
  fill("count", words.length ? `${integer(visible)} of ${plural(COUNT, "module")}` : plural(COUNT, "module"));
}

function markRow() {
  for (const row of byId("modules").querySelectorAll(".chosen")) row.classList.remove("chosen");
  moduleRows[state.module]?.classList.add("chosen");
}

view(["pair", "tablePair"], drawTable);
view(["sort"], sortTable);
view(["filter"], filterTable);
view(["module"], markRow);
