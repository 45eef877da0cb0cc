// What a merge made, before what its inputs have in common: in words, and in numbers.

function drawResult() {
  const result = DATA.result;
  for (const id of ["result", "result-link"]) byId(id).hidden = !result;
  if (!result) return;
  fill("summary-title", "What the adapters have in common, before and after");
  const [first, ...sentences] = result.words ?? [];
  fill("result-lead", first ?? "");
  fill(
    "result-words",
    sentences.map((text) => h("p", {}, text[0].toUpperCase() + text.slice(1))),
  );
  const inputs = ADAPTERS.filter((adapter) => adapter.role !== "merged");
  const kept = inputs.map(({ name }, i) => keptTile(name, result.kept?.[i], result.weights?.[i]));
  fill("result-tiles", [...kept, ...resultTiles(result)]);
}

const shareText = (share) => (share == null ? DASH : `${Number((100 * share).toPrecision(2))} %`);

function keptTile(name, share, weight) {
  const note = weight == null ? "of its energy" : `of its energy, weight ${short(weight)}`;
  return tile(`kept of ${name}`, shareText(share), note, share == null ? null : meter(share, null, 1, "left"));
}

function resultTiles({ error, gap, scale, rank }) {
  return [
    tile("error", shareText(error), "squared distance to the weighted sum"),
    tile("gap", shareText(gap), "to the global minimum, at most"),
    tile("strength", short(scale), "times the weighted sum"),
    tile("rank", integer(rank), "of the merged adapter"),
  ];
}
