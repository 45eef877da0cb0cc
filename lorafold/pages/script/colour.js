// Colour scales. 0 is close to the page and 1 far from it, in light and in dark: what does not overlap recedes.

// "mako" of seaborn: lightness rises evenly, hue from violet to green; readable with every colour vision.
const MAKO = ["#1d1426", "#2e1e3b", "#413d7b", "#37659e", "#348fa7", "#40b7ad", "#8bdab2", "#def5e5"].map(rgbOf);
const OPPOSED = "#c2641d"; // of negative cosines; positive ones take the colours above

const darkScheme = matchMedia("(prefers-color-scheme: dark)");

function rgbOf(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

const mixed = (a, b, t) => a.map((value, channel) => Math.round(value + (b[channel] - value) * t));

/** [red, green, blue] for t in [0, 1]. */
function rampRgb(t) {
  const clipped = Math.min(1, Math.max(0, t));
  const position = (darkScheme.matches ? clipped : 1 - clipped) * (MAKO.length - 1);
  const index = Math.min(MAKO.length - 2, Math.floor(position));
  return mixed(MAKO[index], MAKO[index + 1], position - index);
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;
const ramp = (t) => css(rampRgb(t));

/** For t in [-1, 1]: orange, the page's own end of the scale, then the scale itself. */
function signedRgb(t) {
  return t >= 0 ? rampRgb(t) : mixed(rampRgb(0), rgbOf(OPPOSED), Math.min(1, -t));
}

/** Black or white, whichever has more contrast with the colour: they have the same where its luminance is 0.2. */
function inkOn(rgb) {
  const [red, green, blue] = rgb.map((channel) => (channel / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 ? "#14181b" : "#fff";
}

/** A scale from 0 to `top` with ticks; a bracket over a range [low, high] of it that has a name, if there is one. */
function legend(top, label, name = null, range = null) {
  const at = (value) => `${Math.min(100, Math.max(0, (100 * value) / top))}%`;
  const stops = Array.from({ length: 9 }, (_, i) => ramp(i / 8)).join(", ");
  const round = ticks(0, top, 4);
  const ends = top - round.at(-1) > top / 8 ? [...round, top] : round;
  const marks = ends.map((value) =>
    h("span", { class: "mark", style: { left: at(value) } }, tickText(Number(value.toPrecision(2)))),
  );
  const bar = h("div", { class: "scale", style: { background: `linear-gradient(to right, ${stops})` } });
  if (range) bar.append(bracket(at(range[0]), at(range[1] - range[0])));
  const key = range ? h("span", { class: "legend-key" }, h("span", { class: "bracket-key" }), name) : null;
  const box = h("div", { class: "scale-box" }, bar, marks);
  return h("div", { class: "legend-body" }, h("span", { class: "legend-label" }, label), box, key);
}

function bracket(left, width) {
  return h("span", { class: "bracket", style: { left, width: `calc(${width} + 2px)` } });
}
