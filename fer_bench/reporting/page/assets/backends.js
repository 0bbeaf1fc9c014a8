"use strict";
// Latency of each network by each backend, with what parity says.

const DEPLOYED = 26; // pixels of a row

class Backends {
  constructor(figure, data) {
    this.data = data;
    this.place = html("div", { class: "plot" });
    const legend = data.groups.map((name, place) =>
      svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, this.shape(place, "same", 6, 6)));
    const named = data.groups.flatMap((name, place) => [legend[place], ` ${name} \u2003`]);
    figure.append(html("p", { class: "status" }, ...named), this.place);
    drawAtWidth(this.place, (width) => this.draw(width));
  }

  draw(width) {
    tip.hide();
    const { networks, axis } = this.data;
    const narrow = width < 560;
    const height = 34 + networks.length * (DEPLOYED + (narrow ? 14 : 0)) + 56;
    const frame = { left: narrow ? 8 : 190, right: width - 16, top: 28, bottom: height - 48 };
    const values = networks.flatMap((network) => network.runtimes.map((runtime) => runtime.latency.raw));
    const x = makeScale(values, [frame.left, frame.right], axis.log, Math.max(3, Math.floor(width / 110)));
    const root = canvas(width, height, "Latency by backend");
    root.append(drawAxis("x", x, axis, frame));
    const marks = networks.flatMap((network, row) => {
      const y = 34 + (row + 0.5) * (DEPLOYED + (narrow ? 14 : 0)) + (narrow ? 7 : 0);
      const name = narrow ? { x: frame.left, y: y - 11 } : { x: frame.left - 10, y: y + 4, "text-anchor": "end" };
      root.append(svg("text", { ...name, class: "row" }, shortenedInside(network.label, narrow ? 44 : 24)));
      return network.runtimes.map((runtime) => this.mark(network, runtime, x, y));
    });
    root.append(...marks.map((mark) => mark.node));
    this.place.replaceChildren(root);
    reachable(root, marks);
  }

  /** A disc of its group's colour: hollow and struck through, half, or with a rim, as its parity is. */
  shape(group, look, x, y) {
    const node = svg("g", { class: `series s${group % COLOURS}` });
    const hollow = look === "struck" || look === "open";
    node.append(svg("circle", { class: `mark ${hollow ? "doubted" : ""}`, cx: x, cy: y, r: 5 }));
    if (look === "reduced") node.append(svg("path", { class: "half", d: `M${x},${y - 4}A4,4 0 0 1 ${x},${y + 4}Z` }));
    if (look === "order") node.append(svg("circle", { class: "half", cx: x, cy: y, r: 2 }));
    if (look === "struck") node.append(svg("path", { class: "strike", d: `M${x - 8},${y}H${x + 8}` }));
    return node;
  }

  mark(network, runtime, x, y) {
    const left = x(runtime.latency.raw);
    const node = svg("g", { class: "point" });
    if (runtime.latency.interval) {
      const [low, high] = runtime.latency.interval.map((end) => x(Math.max(end, x.low)));
      node.append(svg("line", { class: "interval", x1: low, x2: high, y1: y, y2: y }));
    }
    node.append(this.shape(this.data.groups.indexOf(runtime.group), runtime.look, left, y));
    const parity = runtime.parity ? [["Parity", runtime.parity]] : [];
    const lines = [["Latency", withInterval(runtime.latency)], ...parity, ...doubts(network.kind)];
    return { node, x: left, y, left, right: left, label: `${network.label}, ${runtime.label}`, lines };
  }
}
