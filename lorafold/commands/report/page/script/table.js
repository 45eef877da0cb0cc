// All runs as a table that sorts and filters.

const MOST_OPTIONS = 40; // values of a setting that has a filter of its own
const IN_ONE_LINE = 16; // characters of a run's name

/** Whole numbers in full: an evaluator may count. */
const count = (value) => (Number.isInteger(value) ? integer(value) : short(value));
const frontsText = ({ fronts }) => fronts.map((name) => FRONTS[name] ?? name).join(", ") || null;
const convergedShare = ({ converged, modules }) => (modules ? converged / modules : null);
const convergedText = (_, { converged, modules }) => joined([converged, modules], "/");
const classOf = (column) => [column.class, column.words ? null : "number"].filter(Boolean).join(" ") || null;

/** `value` sorts, `text` is shown, `words` are aligned left. */
const COLUMNS = [
  { key: "name", label: "run", words: true, value: ({ name }) => name, text: ({ name }) => name },
  ...DATA.differing.map(settingColumn),
  numberColumn("parameters", "parameters", ({ parameters }) => parameters, integer),
  ...DATA.inputs.map(keptColumn),
  numberColumn("worst", "worst", ({ worst }) => worst, overlap, "kept of the adapter that lost most"),
  ...DATA.inputs.map(phiColumn),
  numberColumn("error", "error", ({ error }) => error, overlap, "of reconstruction"),
  ...DATA.evaluated.map((name, i) => numberColumn(`value-${i}`, name, ({ evaluation }) => evaluation[i], count)),
  numberColumn("converged", "converged", convergedShare, convergedText, "modules"),
  numberColumn("seconds", "seconds", ({ seconds }) => seconds, short),
  { key: "fronts", label: "front of", class: "fronts", words: true, value: frontsText, text: frontsText },
];

function settingColumn(label, index) {
  const of = ({ settings }) => settings[index];
  const words = RUNS.some((run) => typeof of(run).order === "string" || /[^0-9.e+-]/.test(of(run).text ?? ""));
  const text = (run) => of(run).text ?? DASH;
  return { key: `setting-${index}`, label, class: "setting", words, value: (run) => of(run).order, text };
}

function keptColumn(name, i) {
  return numberColumn(`kept-${i}`, `kept ${i + 1}`, ({ kept }) => kept[i], overlap, `of ${name}`);
}

function phiColumn(name, i) {
  return numberColumn(`phi-${i}`, `φ to ${i + 1}`, ({ phi }) => phi[i], overlap, `${name}, mean of left and right`);
}

function numberColumn(key, label, value, text, title = null) {
  return { key, label, title, value: (run) => value(run) ?? null, text: (run) => text(value(run) ?? null, run) };
}

const rows = []; // by run

function drawTable() {
  const head = COLUMNS.map((column) => {
    const button = h("button", { type: "button", onclick: () => sortBy(column.key) }, column.label);
    return columnName(button, { class: classOf(column), "data-key": column.key, title: column.title });
  });
  byId("table").tHead.replaceChildren(tableRow(head));
  rows.push(...RUNS.map(tableRowOf));
}

function tableRowOf(run, r) {
  const [, ...others] = COLUMNS;
  const words = run.name.length > IN_ONE_LINE ? breakable(run.name) : run.name;
  const button = h("button", { type: "button", onclick: () => set({ run: r }) }, words);
  return tableRow(rowName(button), others.map((column) => tableCell(column, run)));
}

function tableCell(column, run) {
  const text = column.text(run) ?? "";
  return h("td", { class: classOf(column), title: column.words ? text : null }, text);
}

/** First press: largest first for what was measured, from the beginning for settings; second press: the other way. */
function sortBy(key) {
  const column = COLUMNS.find((candidate) => candidate.key === key);
  const measured = !column.words && column.class !== "setting";
  set({ sort: { key, down: state.sort.key === key ? !state.sort.down : measured } });
}

function sortTable() {
  const { key, down } = state.sort;
  const column = COLUMNS.find((candidate) => candidate.key === key);
  const order = [...RUNS.keys()];
  if (column) order.sort(comparison(comparable(RUNS.map(column.value)), down));
  byId("table").tBodies[0].replaceChildren(...order.map((r) => rows[r]));
  for (const cell of byId("table").tHead.querySelectorAll("th")) {
    if (cell.dataset.key === key) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  }
}

/** Numbers and words in one column, such as rank=8 and rank=max, sort as words do: 8 before 16 before max. */
function comparable(values) {
  const mixed = values.some((value) => typeof value === "string");
  return mixed ? values.map((value) => (value === null ? null : String(value))) : values;
}

function filterTable() {
  const shown = matching();
  rows.forEach((row, r) => (row.hidden = !shown.has(r)));
  const all = plural(RUNS.length, "run");
  fill("count", shown.size < RUNS.length ? `${integer(shown.size)} of ${all}` : all);
}

/** A list to choose from for every setting that differs and has few enough values. */
function drawSettingFilters() {
  const choices = DATA.differing.map((name, index) => {
    const found = new Map(RUNS.map(({ settings }) => [settings[index].text, settings[index].order]));
    found.delete(null);
    if (found.size < 2 || found.size > MOST_OPTIONS) return null;
    const texts = [...found.keys()];
    const order = comparison(comparable([...found.values()]), false);
    const sorted = [...texts.keys()].sort(order).map((at) => texts[at]);
    const options = [h("option", { value: "" }, "all"), ...sorted.map((text, at) => h("option", { value: at + 1 }, text))];
    const choose = (event) => want(index, sorted[event.target.value - 1]);
    return h("label", { class: "choice" }, name, h("select", { onchange: choose, "data-setting": name }, options));
  });
  fill("setting-filters", choices.filter(Boolean));
}

function want(index, text) {
  const wanted = new Map(state.wanted);
  if (text === undefined) wanted.delete(index);
  else wanted.set(index, text);
  set({ wanted });
}

function markRow() {
  rows.forEach((row, r) => row.classList.toggle("chosen", r === state.run));
}

view(["sort"], sortTable);
view(FILTERS, filterTable);
view(["run"], markRow);
