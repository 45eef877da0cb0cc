// Draw everything once, then follow the reader.

function drawRun() {
  const head = tableRow(["", "adapter", "format", "file or folder", "SHA-256"].map((title) => columnName(title)));
  const panel = DATA.panel.map((adapter) => ({ ...adapter, label: "panel" }));
  const rows = [...ADAPTERS, ...panel].map(({ label, name, format, path, sha256 }) => {
    const plain = [label, name, format].map((value) => h("td", {}, value ?? DASH));
    return tableRow(plain, h("td", { class: "path" }, path ?? DASH), h("td", { class: "hash" }, sha256 ?? DASH));
  });
  fill("inputs", h("thead", {}, head), h("tbody", {}, rows));
  const { environment, config, seconds, peak_rss_mb: peak } = DATA.run;
  const times = Object.entries(seconds ?? {}).map(([stage, value]) => [`${stage}, seconds`, short(value)]);
  const memory = peak ? [["largest memory, MB", integer(Math.round(peak))]] : [];
  const others = Object.entries(environment ?? {}).map(([key, value]) => [key.replaceAll("_", " "), plainText(value)]);
  fill("environment", facts([...times, ...memory, ...others]));
  fill("config", JSON.stringify(config ?? {}, null, 2));
  if (DATA.step > 1) fill("step-note", `; there are so many that only every ${DATA.step}. i and j is kept`);
}

function plainText(value) {
  if (Array.isArray(value)) return value.join(" ");
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? DASH);
}

function wire() {
  byId("pair").addEventListener("change", (event) => choosePair(Number(event.target.value)));
  byId("table-pair").addEventListener("change", (event) => set({ tablePair: Number(event.target.value) }));
  byId("filter").addEventListener("input", (event) => set({ filter: event.target.value }));
  byId("measure").addEventListener("change", (event) => set({ measure: event.target.value }));
  byId("grid-mode").addEventListener("change", (event) => set({ gridMode: event.target.value }));
  byId("previous").addEventListener("click", () => set({ module: (state.module + COUNT - 1) % COUNT }));
  byId("next").addEventListener("click", () => set({ module: (state.module + 1) % COUNT }));
  darkScheme.addEventListener("change", () => set({ dark: darkScheme.matches }));
  byId("measure-null").hidden = !HAS_NULL;
  byId("measure").querySelector(`[value=${state.measure}]`).checked = true;
  wireOverview();
  followWidth();
}

/** Charts are drawn in pixels: draw them again when the page gets another width. */
function followWidth() {
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width !== state.width) requestAnimationFrame(() => set({ width }));
  }).observe(byId("main"));
}

view(["pair"], () => (byId("pair").value = String(state.pair)));

function drawNothing() {
  fill("reading", h("p", { class: "lead" }, "There is no pair of adapters to compare."));
  for (const id of ["overview", "module", "angles", "parts", "table"]) byId(id).hidden = true;
}

drawHeading();
drawResult();
drawRun();
if (PAIRS.length) {
  wire();
  set({ ...state, module: mostOverlapping(), width: byId("main").clientWidth });
} else {
  drawNothing();
}
