// phi(i, j) of one side of one module, with axes, and a value under the pointer or the arrow keys.

const LEAST_HEIGHT = 120; // pixels of a map
const MOST_HEIGHT = 340;

/** What a map shows in a mode. */
const cellValue = {
  phi: (grid, row, column) => grid.phi(row, column),
  random: (grid, row, column) => grid.random(row, column),
  excess: (grid, row, column) => Math.max(0, grid.phi(row, column) - grid.random(row, column)),
};

/** Largest value of some maps in a mode; "random" shares the scale of "phi". */
function gridTop(grids, mode) {
  const value = cellValue[mode === "excess" ? "excess" : "phi"];
  let top = 0.001;
  for (const grid of grids) {
    for (let row = 0; row < grid.rows; row += 1) {
      for (let column = 0; column < grid.columns; column += 1) top = Math.max(top, value(grid, row, column));
    }
  }
  return top;
}

/** The figure; `onread(row, column)` is told what is pointed at. */
function heatmap({ grid, p, side, mode, top, width, onread }) {
  const square = ((width - MARGIN.left - MARGIN.right) * grid.rows) / grid.columns;
  const height = Math.min(MOST_HEIGHT, Math.max(LEAST_HEIGHT, square)) + MARGIN.top + MARGIN.bottom;
  const label = `φ(i, j), ${side}, ${pairName(p)}`;
  const axes = mapAxes(grid, p, width, height, label);
  const canvas = paint(grid, mode, top);
  const share = (length, whole) => `${(100 * length) / whole}%`; // not pixels: paper is narrower than the screen
  const { left, right, top: above, bottom } = axes.box;
  setStyle(canvas, { left: share(left, width), width: share(right - left, width) });
  setStyle(canvas, { top: share(above, height), height: share(bottom - above, height) });
  const plot = h("div", { class: "map", tabindex: 0, role: "group", "aria-label": `${label}; arrow keys read values` });
  plot.append(canvas, axes.root);
  makeReadable(plot, grid, axes, onread);
  return plot;
}

function mapAxes(grid, p, width, height, label) {
  const [first, second] = PAIRS[p].pair.map((adapter) => ADAPTERS[adapter].label);
  const centre = (value, origin) => (value - origin) / DATA.step + 0.5;
  return chart({
    width,
    height,
    x: [0, grid.columns],
    y: [grid.rows, 0],
    xTicks: rankTicks(grid.j(grid.columns - 1), 8).map((j) => ({ at: centre(j, grid.j(0)), text: j })),
    yTicks: rankTicks(grid.i(grid.rows - 1), 6).map((i) => ({ at: centre(i, grid.i(0)), text: i })),
    xLabel: `j, directions of ${second} →`,
    yLabel: `↓ i, directions of ${first}`,
    label,
  });
}

/** One pixel per value; the browser enlarges them. */
function paint(grid, mode, top) {
  const canvas = h("canvas", { width: grid.columns, height: grid.rows, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const image = context.createImageData(grid.columns, grid.rows);
  for (let row = 0, pixel = 0; row < grid.rows; row += 1) {
    for (let column = 0; column < grid.columns; column += 1, pixel += 4) {
      image.data.set([...rampRgb(cellValue[mode](grid, row, column) / top), 255], pixel);
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Follow the pointer, and the arrow keys once the map has the focus. */
function makeReadable(plot, grid, axes, onread) {
  const { x, y, root } = axes;
  const cross = svg("rect", { class: "cross", width: x(1) - x(0), height: y(1) - y(0), visibility: "hidden" });
  root.append(cross);
  let [row, column] = [grid.rows - 1, grid.columns - 1];
  const show = (newRow, newColumn) => {
    row = Math.min(grid.rows - 1, Math.max(0, newRow));
    column = Math.min(grid.columns - 1, Math.max(0, newColumn));
    for (const [name, value] of Object.entries({ x: x(column), y: y(row), visibility: "visible" })) {
      cross.setAttribute(name, value);
    }
    onread(row, column);
  };
  plot.addEventListener("pointermove", (event) => {
    const frame = plot.querySelector("canvas").getBoundingClientRect();
    const share = [(event.clientY - frame.top) / frame.height, (event.clientX - frame.left) / frame.width];
    show(Math.floor(share[0] * grid.rows), Math.floor(share[1] * grid.columns));
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  plot.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(row + steps[event.key][0], column + steps[event.key][1]);
  });
}
