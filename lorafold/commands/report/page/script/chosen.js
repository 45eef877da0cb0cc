// The chosen run: its settings and numbers, the command that repeats it, the parts of the model.

function drawChosen() {
  const run = RUNS[state.run];
  byId("chosen").hidden = !run;
  if (!run) return;
  fill("chosen-name", breakable(run.folder));
  const settings = run.settings.map(({ text }, index) => [DATA.differing[index], text ?? DASH]);
  const numbers = [
    ["parameters", integer(run.parameters)],
    ["error", overlap(run.error)],
    ["converged", joined([run.converged, run.modules], "/")],
    ["seconds", short(run.seconds)],
    ["lorafold", run.version],
  ];
  fill("chosen-facts", facts([...settings, ...numbers]));
  fill("command", run.repeat ?? "Not known: the folder has no resolved.yaml, or its name cannot be shown as it is.");
  byId("copy").hidden = !run.repeat;
  fill("copy", "Copy");
  fill("input-names", DATA.inputs.map((name) => h("li", {}, breakable(name.replace(/^\d+: /, "")))));
  byId("input-names").hidden = DATA.inputs.every((name) => !name.includes(": "));
  drawParts(run);
}

function drawParts({ columns, parts }) {
  const heads = columns.map((lines) => columnName(lines.map((line) => h("span", {}, line))));
  byId("parts").tHead.replaceChildren(tableRow(h("td"), heads));
  const body = parts.map(({ label, modules, values }) =>
    tableRow(rowName(label, h("small", {}, integer(modules))), values.map((value) => partCell(value))),
  );
  byId("parts").tBodies[0].replaceChildren(...body);
}

function partCell(value) {
  if (value === null) return h("td", { class: "absent" }, DASH);
  const rgb = rampRgb(value);
  return h("td", { style: { background: css(rgb), color: inkOn(rgb) } }, fixed(value, 2));
}

async function copyCommand() {
  const text = byId("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
    fill("copy", "Copied");
  } catch {
    getSelection().selectAllChildren(byId("command")); // where a page may not write to the clipboard
    fill("copy", "Selected: press Ctrl+C");
  }
}

view(["run", "dark"], drawChosen);
