"use strict";
// What the machine would allow, and what the networks reach.

class Roofline {
  constructor(figure, data) {
    this.data = data;
    this.place = html("div", { class: "plot" });
    figure.append(this.place, html("p", { class: "status" }, data.machines.map((machine) => machine.label).join("; ")));
    drawAtWidth(this.place, (width) => this.draw(width));
  }

  draw(width) {
    tip.hide();
    const height = Math.max(320, Math.min(520, width * 0.6));
    const frame = { left: 62, right: width - 12, top: 34, bottom: height - 48 };
    const { points, machines } = this.data;
    const rates = [...points.map((point) => point.rate.raw), ...machines.map((machine) => machine.peak.raw)];
    const intensities = points.map((point) => point.intensity.raw);
    const x = makeScale(intensities, [frame.left, frame.right], true, Math.max(3, Math.floor(width / 110)));
    const y = makeScale(rates, [frame.bottom, frame.top], true, 6);
    const root = canvas(width, height, "Rate over intensity");
    root.append(
      drawAxis("x", x, { title: "Intensity (MAC/B)" }, frame),
      drawAxis("y", y, { title: "MAC/s", prefixed: true }, frame),
      ...machines.flatMap((machine) => this.drawRoof(machine, x, y)),
    );
    const marks = points.map((point) => this.mark(point, x, y)).sort((a, b) => a.x - b.x || a.y - b.y);
    const names = svg("g", {});
    root.append(...marks.map((mark) => mark.node), names);
    this.place.replaceChildren(root);
    placeNames(names, marks, frame);
    reachable(root, marks);
  }

  /** Draw each slope from where it enters the picture to the ridge, and the flat roof beyond the first ridge. */
  drawRoof(machine, x, y) {
    const peak = machine.peak.raw;
    const paths = machine.slopes.map(([label, rate]) => {
      const start = Math.max(x.low, y.low / rate);
      const ridge = Math.max(start, Math.min(x.high, peak / rate));
      const height = (intensity) => y(Math.min(peak, rate * intensity));
      const d = `M${x(start)},${height(start)}L${x(ridge)},${height(ridge)}H${x(x.high)}`;
      return svg("path", { class: `roof ${label}`, d });
    });
    const text = svg("text", { class: "name", x: x(x.high), y: y(peak) - 6, "text-anchor": "end" }, machine.peak.text);
    return [...paths, text];
  }

  mark(point, x, y) {
    const [left, top] = [x(point.intensity.raw), y(point.rate.raw)];
    const node = svg("g", { class: "point" }, drawMark(point.kind, left, top));
    const lines = [
      ["Rate", `${point.rate.text}, ${point.share_text} of attainable`],
      ["Intensity", point.intensity.text],
      ...doubts(point.kind),
    ];
    return { node, x: left, y: top, left, right: left, front: false, label: point.label, lines };
  }
}
