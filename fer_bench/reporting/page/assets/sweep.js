"use strict";
// Latency and rate over the batch size, a line for each network.

const COLOURS = 5; // of lines; beyond them lines are dashed
const APART = 26; // pixels between numbers of batch sizes

class Sweep {
  constructor(figure, data) {
    this.data = data;
    const options = Object.entries(data.axes).map(([quantity, axis]) => option(quantity, axis.title));
    this.shown = html("select", { onchange: () => this.draw() }, ...options);
    this.place = html("div", { class: "plot" });
    figure.append(html("div", { class: "tools" }, labelled("Show", this.shown)), this.place);
    drawAtWidth(this.place, (width) => {
      this.width = width;
      this.draw();
    });
  }

  draw() {
    tip.hide();
    const quantity = this.shown.value;
    const axis = this.data.axes[quantity];
    const height = Math.max(320, Math.min(520, this.width * 0.6));
    const frame = { left: 62, right: this.width - 12, top: 34, bottom: height - 48 };
    const steps = this.data.networks.flatMap((network) => network.steps);
    const ends = steps.flatMap(({ [quantity]: value }) => [value.raw, ...(value.interval ?? [])]);
    const values = axis.log ? ends.filter((end) => end > 0) : ends;
    const x = this.batches(steps, frame);
    const y = makeScale(values, [frame.bottom, frame.top], axis.log, 6);
    const root = canvas(this.width, height, `${axis.title} over batch size`);
    const across = { title: "Batch size" };
    root.append(drawAxis("x", x, across, frame), drawAxis("y", y, axis, frame));
    const lines = this.data.networks.map((network, place) => this.drawNetwork(root, network, place, quantity, x, y));
    const names = svg("g", {});
    root.append(names);
    this.place.replaceChildren(root);
    placeNames(names, lines.map((marks) => ({ ...marks.at(-1), label: shortened(marks.at(-1).name, 24) })), frame);
    reachable(root, lines.flat());
  }

  /** Make the scale of batch sizes: its numbers are the sizes measured, and at its right is room for names. */
  batches(steps, frame) {
    const sizes = [...new Set(steps.map((step) => step.batch))].sort((a, b) => a - b);
    const right = frame.right - Math.min(150, this.width * 0.36);
    const scale = makeScale(sizes, [frame.left, right], true, sizes.length, 0.05);
    scale.ticks = sizes.reduce(
      (kept, size) => (kept.length && scale(size) - scale(kept.at(-1)) < APART ? kept : [...kept, size]), []);
    return scale;
  }

  drawNetwork(root, network, place, quantity, x, y) {
    const group = svg("g", { class: `series s${place % COLOURS}` });
    const at = network.steps.map((step) => [x(step.batch), y(step[quantity].raw)]);
    const dashes = Math.floor(place / COLOURS);
    const line = { class: "line", d: `M${at.join("L")}`, "stroke-dasharray": dashes ? `${9 - 2 * (dashes % 4)} 4` : null };
    const marks = network.steps.map((step, index) => this.mark(network, step, at[index], step[quantity].interval, y));
    group.append(svg("path", line), ...marks.map((mark) => mark.node));
    root.append(group);
    return marks;
  }

  mark(network, step, [left, top], interval, y) {
    const node = svg("g", { class: "point" });
    if (interval) {
      const [low, high] = interval.map((end) => y(Math.max(end, y.low)));
      node.append(svg("line", { class: "interval", x1: left, x2: left, y1: low, y2: high }));
    }
    node.append(drawMark(network.kind, left, top));
    const lines = [
      ["Latency of a batch", withInterval(step.latency)],
      ["Images/s", withInterval(step.rate)],
      ...doubts(network.kind),
    ];
    const label = `${network.label}, batch ${step.batch}`;
    return { node, x: left, y: top, left, right: left, front: false, label, lines, name: network.label };
  }
}
