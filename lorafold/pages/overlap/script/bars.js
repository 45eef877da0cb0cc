// Mean overlap by block and by kind of layer.

function drawParts() {
  const shown = panels();
  const entries = shown.flatMap((p) => [...PAIRS[p].groups, ...PAIRS[p].kinds]);
  const top = partsTop(entries);
  fill("parts-top", tickText(top));
  fill("part-tables", partTable("By block", "groups", shown, top), partTable("By kind of layer", "kinds", shown, top));
  byId("parts").hidden = !entries.length;
}

function partsTop(entries) {
  const values = entries.flatMap((entry) => SIDES.flatMap((side) => beside(entry[side] ?? {})));
  return Math.min(1, Math.ceil(largest(values, 0.01) / 0.05 - 1e-9) * 0.05);
}

function partTable(title, key, shown, top) {
  const labels = [...new Set(shown.flatMap((p) => PAIRS[p][key].map((entry) => entry.label)))];
  if (!labels.length) return h("div");
  const over = shown.map((p) => h("th", { scope: "colgroup", colspan: 3, class: "panel-name" }, panelName(p)));
  const columns = [
    ...SIDES.map((side) => columnName(`φ ${side}`, { class: side })),
    columnName("cosine", { class: "last" }),
  ];
  const head = [
    shown.length > 1 ? tableRow(h("td"), over) : null,
    tableRow(
      columnName(title),
      shown.flatMap(() => columns.map((cell) => cell.cloneNode(true))),
    ),
  ];
  const body = labels.map((label) => partRow(label, key, shown, top));
  const table = h("table", { class: `parts panels-${shown.length}` }, h("thead", {}, head), h("tbody", {}, body));
  return h("div", { class: "scroll" }, table);
}

function partRow(label, key, shown, top) {
  const found = shown.map((p) => PAIRS[p][key].find((entry) => entry.label === label) ?? {});
  const count = largest(found.map((entry) => entry.modules ?? 0));
  const cells = found.flatMap((entry) => [
    ...SIDES.map((side) => partCell(entry[side] ?? {}, top, side)),
    h("td", { class: "number" }, cosine(entry.cosine)),
  ]);
  return tableRow(rowName(label, h("small", {}, integer(count))), cells);
}

function partCell(entry, top, side) {
  const [phi, level] = beside(entry);
  const content = h(
    "span",
    { class: "bar-cell" },
    meter(phi, level, top, side),
    h("span", { class: "number" }, overlap(phi)),
  );
  return h("td", { title: `φ ${overlap(phi)} beside ${overlap(level)}` }, content);
}

view(["pair"], drawParts);
