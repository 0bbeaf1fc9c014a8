"use strict";
// How the runs of each process spread.

const ROW = 9; // pixels of a strip
const GAP = 18; // between networks
const FAR = { low: -20, high: 50 }; // per cent from the network's latency: beyond it a line is cut and has an arrow

class Latencies {
  constructor(figure, data) {
    this.networks = data.networks;
    const several = data.networks.some((network) => network.strips.length > 1);
    this.scale = html(
      "select",
      { onchange: () => this.draw() },
      option("relative", "relative to the network's latency", several),
      option("absolute", "in milliseconds", !several),
    );
    this.place = html("div", { class: "plot" });
    figure.append(html("div", { class: "tools" }, labelled("Scale", this.scale)), this.place);
    drawAtWidth(this.place, (width) => {
      this.width = width;
      this.draw();
    });
  }

  draw() {
    tip.hide();
    const relative = this.scale.value === "relative";
    const narrow = this.width < 560;
    const rows = this.layout(narrow);
    const height = rows.at(-1).bottom + 64;
    const frame = { left: narrow ? 8 : 190, right: this.width - 16, top: 28, bottom: height - 48, twice: true };
    const scale = this.makeScale(frame, relative);
    const axis = relative
      ? { title: "Difference from the network's latency (%)" }
      : { title: "Latency of a batch (ms)", per: 0.001 };
    const root = canvas(this.width, height, "Latency by process");
    root.append(drawAxis("x", scale, axis, frame));
    const marks = rows.flatMap((row) => this.drawNetwork(root, row, scale, frame, relative, narrow));
    this.place.replaceChildren(root);
    reachable(root, marks);
  }

  layout(narrow) {
    let top = 34;
    return this.networks.map((network) => {
      const first = top + (narrow ? 20 : 4);
      const bottom = first + Math.max(network.strips.length * ROW, narrow ? 0 : 12);
      top = bottom + GAP - 8;
      return { network, first, bottom };
    });
  }

  makeScale(frame, relative) {
    const ends = this.networks.flatMap((network) =>
      network.strips.flatMap(({ quantiles: [low, , , , high] }) =>
        [low, high].map((end) => this.at(network, end.raw, relative))));
    const kept = relative ? ends.map((end) => Math.max(FAR.low, Math.min(FAR.high, end))) : ends;
    return makeScale(kept, [frame.left, frame.right], !relative, Math.max(3, Math.floor(this.width / 110)), 0.03);
  }

  at(network, seconds, relative) {
    return relative ? 100 * (seconds / network.estimate.raw - 1) : seconds;
  }

  drawNetwork(root, { network, first, bottom }, scale, frame, relative, narrow) {
    const middle = (first + bottom) / 2;
    const name = narrow ? { x: frame.left, y: first - 6 } : { x: frame.left - 10, y: middle + 4, "text-anchor": "end" };
    root.append(svg("text", { ...name, class: "row" }, shortenedInside(network.label, narrow ? 44 : 24)));
    const place = (seconds) => Math.max(frame.left, Math.min(frame.right, scale(this.at(network, seconds, relative))));
    if (network.estimate.interval) {
      const [left, right] = network.estimate.interval.map(place);
      const size = { width: Math.max(1, right - left), height: bottom - first + 4 };
      root.append(svg("rect", { class: "band", x: left, y: first - 2, ...size }));
    }
    const centre = place(network.estimate.raw);
    root.append(svg("line", { class: "estimate", x1: centre, x2: centre, y1: first - 2, y2: bottom + 2 }));
    return network.strips.map((strip, index) => {
      const mark = this.drawStrip(network, strip, first + (index + 0.5) * ROW, place, scale, relative);
      root.append(mark.node);
      return mark;
    });
  }

  drawStrip(network, strip, y, place, scale, relative) {
    const [low, lower, median, upper, high] = strip.quantiles.map(({ raw }) => place(raw));
    const [start, end] = [0, 4].map((index) => this.at(network, strip.quantiles[index].raw, relative));
    const arrow = (x, back) => svg("path", { class: "arrow", d: `M${x + back},${y - 3.5}L${x},${y}l${back},3.5` });
    const node = svg(
      "g",
      { class: "point strip" },
      svg("line", { class: "whisker", x1: low, x2: high, y1: y, y2: y }),
      svg("rect", { class: "box", x: lower, y: y - 3, width: Math.max(1, upper - lower), height: 6 }),
      svg("line", { class: "median", x1: median, x2: median, y1: y - 4, y2: y + 4 }),
    );
    if (start < scale.low) node.append(arrow(low, 5));
    if (end > scale.high) node.append(arrow(high, -5));
    const texts = strip.quantiles.map(({ text }) => text);
    const lines = [
      ["Process", `${strip.process}, ${strip.runs} runs`],
      ["Median", texts[2]],
      ["Middle half", `${texts[1]} to ${texts[3]}`],
      ["5 % to 95 %", `${texts[0]} to ${texts[4]}`],
      ["All processes", withInterval(network.estimate)],
      ...doubts(network.kind),
    ];
    return { node, x: median, y, left: low, right: high, label: network.label, lines };
  }
}
