// Making elements. Text always enters as a text node, never as markup: names come from strangers' files.

const byId = (id) => document.getElementById(id);

/** An HTML element: attributes, `on...` listeners, `style` as an object, then children (nodes or text). */
function h(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** Likewise for SVG. */
function svg(tag, attributes = {}, ...children) {
  return build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (name === "style") setStyle(node, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}

function setStyle(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
}

/** A name that may be broken after dots, underscores and slashes. */
const breakable = (name) => name.split(/(?<=[._/])/).flatMap((part) => [part, h("wbr")]);

const fill = (id, ...children) => byId(id).replaceChildren(...children.flat());

/** A row of a table, and the cell that names a row or a column. */
const tableRow = (...cells) => h("tr", {}, ...cells);
const rowName = (...content) => h("th", { scope: "row" }, ...content);
const columnName = (text, attributes = {}) => h("th", { scope: "col", ...attributes }, text);

/** A list of facts: [term, description] pairs. */
const facts = (entries) => entries.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)));

/** phi as a bar from 0 to `top`, with a tick where what it stands beside is. */
function meter(value, level, top, side) {
  const at = (number) => `${Math.min(100, (100 * Math.max(0, number)) / top)}%`;
  const bar = h("span", { class: `meter ${side}`, "aria-hidden": "true" });
  if (value != null) bar.append(h("span", { class: "amount", style: { width: at(value) } }));
  if (level != null) bar.append(h("span", { class: "tick", style: { left: at(level) } }));
  return bar;
}
