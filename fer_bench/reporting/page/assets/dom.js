"use strict";
// Elements are made with texts and attributes only, never from markup: no name of a network can become an element.

const SVG = "http://www.w3.org/2000/svg";

function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children);
  return element;
}

function labelled(text, control) {
  return html("label", {}, html("span", {}, text), control);
}

function option(value, text, selected = false) {
  return html("option", { value, selected }, text);
}

/** One box for what the pointer or the focus is on; it stays while the pointer is on it, and Escape closes it. */
const tip = {
  box: html("div", { class: "tip", "aria-hidden": "true", hidden: true }),

  show(near, title, lines) {
    tip.box.replaceChildren(
      html("strong", {}, title),
      ...lines.map(([heading, text]) =>
        heading ? html("div", {}, html("span", {}, heading), " ", text) : html("div", {}, text)),
    );
    tip.box.hidden = false;
    const room = document.documentElement.clientWidth;
    const { width, height } = tip.box.getBoundingClientRect();
    const left = Math.max(8, Math.min(near.left + near.width / 2 - width / 2, room - width - 8));
    const above = near.top - height - 10;
    tip.box.style.left = `${left + scrollX}px`;
    tip.box.style.top = `${(above > 4 ? above : near.bottom + 10) + scrollY}px`;
  },

  hide() {
    tip.box.hidden = true;
  },
};
