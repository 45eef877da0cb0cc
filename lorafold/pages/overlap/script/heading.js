// What was compared, the reading in words, and the numbers of the chosen pair.

function drawHeading() {
  fill("command", `lorafold ${DATA.command ?? ""}`);
  fill("title", headline());
  fill("adapters", ADAPTERS.map(adapterLine));
  byId("pair-choice").hidden = CHOICES.length < 2;
  fill("pair-label", MERGED < 0 ? "Pair" : "Inputs");
  const options = CHOICES.map((p) => h("option", { value: p }, pairTitle(p)));
  fill("pair", options);
}

function headline() {
  const names = ADAPTERS.filter((adapter) => adapter.role !== "merged").map((adapter) => adapter.name);
  const subject = names.length > 2 ? `${names.length} adapters` : names.join(" and ");
  return MERGED < 0 ? `Overlap of ${subject}` : `${subject}, before and after the merge`;
}

/** "1 and 2: style, character". */
function pairTitle(p) {
  return `${pairName(p)}: ${PAIRS[p].pair.map((adapter) => ADAPTERS[adapter].name).join(", ")}`;
}

function adapterLine({ label, name, role, format, modules, ranks, dtype, norm }) {
  const types = [dtype ?? []].flat().join(", ");
  const parts = [
    format,
    `rank ${span(ranks)}`,
    modules == null ? null : plural(modules, "module"),
    types,
    `norm ${short(norm)}`,
  ];
  return h(
    "li",
    {},
    h("span", { class: "badge" }, role === "merged" ? "M" : label),
    h("span", { class: "adapter-name" }, role === "merged" ? "merged adapter" : name),
    h("span", { class: "adapter-facts" }, parts.filter(Boolean).join(" · ")),
  );
}

function drawSummary() {
  const shown = panels();
  fill("reading", readingOf(state.pair));
  const top = summaryTop(shown);
  const cards = shown.map((p) => card(p, top, shown.length > 1));
  fill("cards", cards);
  byId("cards").classList.toggle("several", shown.length > 1);
}

/** In words, of the chosen pair: of the inputs, not of what a merge made of them. */
function readingOf(p) {
  const { reading, verdict } = PAIRS[p].summary;
  const names = PAIRS[p].pair.map((adapter) => ADAPTERS[adapter].name).join(" and ");
  const tone = (text) => (text.startsWith("Warning") ? "notice" : null);
  const sentences = (reading ?? []).map((text) => h("p", { class: tone(text) }, text));
  return [
    verdict ? h("p", { class: "lead" }, `${names}: ${verdict}`) : null,
    h("div", { class: "sentences" }, sentences),
  ].filter(Boolean);
}

function card(p, top, titled) {
  const { summary, pair } = PAIRS[p];
  const [first, second] = pair.map((adapter) => ADAPTERS[adapter].label);
  const tiles = [
    ...SIDES.map((side) => phiTile(summary[side] ?? {}, side, top, nullKind(p))),
    countTile(p),
    cosineTile(summary),
    tile("norm ratio", short(summary.norm_ratio), `‖ΔW‖ of ${second} to that of ${first}`),
    tile("modules compared", integer(summary.modules), `of ${integer(COUNT)}`),
  ];
  return h("div", { class: "card" }, titled ? h("h3", {}, panelName(p)) : null, h("dl", { class: "tiles" }, tiles));
}

/** End of the scale of the bars in the tiles, common to all cards. */
function summaryTop(shown) {
  const entries = shown.flatMap((p) => SIDES.map((side) => PAIRS[p].summary[side] ?? {}));
  return Math.min(
    1,
    largest(
      entries.flatMap(beside),
      0.01,
    ) * 1.1,
  );
}

/** phi beside its null, in numbers and as a bar; without a null, beside random subspaces. */
function phiTile(entry, side, top, kind) {
  const [phi, level] = beside(entry);
  const result = tile(`φ ${side}`, overlap(phi), `beside ${overlap(level)}, ${kind ?? "random"}`, meter(phi, level, top, side));
  const note = (text) => result.append(h("dd", { class: "note" }, text));
  if (kind && entry.effect != null) note(`effect ${signed(entry.effect)}, p ${probability(entry.p)}`);
  if (kind) note(`all directions ${overlap(entry.phi)}, random ${overlap(entry.random)}`);
  if (entry.phi_energy != null) note(`weighted by norms ${overlap(entry.phi_energy)}`);
  return result;
}

/** In how many modules the overlap is beyond its null, or that its draws are too few to say. */
function countTile(p) {
  const { summary } = PAIRS[p];
  const count = (key) => SIDES.map((side) => summary[side]?.[key]);
  const modules = "modules, left / right";
  const kind = nullKind(p);
  if (!kind) return tile("more than random", joined(count("beyond_random"), " / "), modules);
  const name = kind === "panel" ? "beyond chance" : "above mismatched layers";
  const decided = largest(count("decided"));
  if (!decided) return tile(name, "undecided", `n = ${integer(summary.null.draws?.at(-1))} is too few`);
  return tile(name, joined(count("beyond_null"), " / "), `${modules}, of ${integer(decided)} that n can decide`);
}

const signed = (value) => `${value > 0 ? "+" : ""}${score(value)}`;

function cosineTile({ cosine: value, cosine_null_sd: spread }) {
  const spreadText = spread == null ? "" : `, random directions 0 ± ${short(spread)}`;
  return tile("cosine of the updates", cosine(value), `1 same, −1 opposite${spreadText}`);
}

function tile(term, value, note, bar = null) {
  const descriptions = [h("dd", { class: "value" }, value), bar && h("dd", {}, bar), h("dd", { class: "note" }, note)];
  return h("div", { class: "tile" }, h("dt", {}, term), descriptions);
}

view(["pair"], drawSummary);
