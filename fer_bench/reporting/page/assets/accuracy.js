"use strict";
// What networks were measured to say of labelled images: by class, class for class, and how sure they are.

const SHARES = { title: "Share (%)", per: 0.01 };
const LARGEST_CELL = 58; // pixels
const TOP = 6; // pixels above the first row
const DARKEST = 0.45; // opacity of a whole share: on it numbers have the contrast of WCAG AA in either theme

/** Make a select of networks with its label, or nothing to show where there is one. */
function networkSelect(figure, networks, draw) {
  const chosen = html("select", { onchange: draw }, ...networks.map(({ label }, at) => option(String(at), label)));
  if (networks.length > 1) figure.append(html("div", { class: "tools" }, labelled("Network", chosen)));
  return chosen;
}

/** Draw a scale of shares from 0 to 1; nothing lies beyond its ends. */
function shareScale(ends, count) {
  return makeScale([0, 1], ends, false, count, 0.02);
}

class Confusion {
  constructor(figure, data) {
    this.networks = data.networks;
    this.chosen = networkSelect(figure, data.networks, () => this.draw());
    this.place = html("div", { class: "plot" });
    figure.append(this.place);
    if (data.left_out) figure.append(html("p", { class: "status" }, data.left_out));
    drawAtWidth(this.place, (width) => {
      this.width = width;
      this.draw();
    });
  }

  draw() {
    tip.hide();
    const network = this.networks[Number(this.chosen.value)];
    const { classes, rows } = network;
    const left = 92;
    const side = Math.min(LARGEST_CELL, Math.floor((this.width - left - 8) / classes.length));
    const [across, height] = [left + side * classes.length, TOP + side * classes.length];
    const root = canvas(Math.max(this.width, across), height + 86, `Confusion matrix of ${network.label}`);
    const middle = (place) => place * side + side / 2;
    classes.forEach((name, place) => {
      const below = { x: left + middle(place), y: height + 12, "text-anchor": "end" };
      const turned = { ...below, transform: `rotate(-45 ${below.x} ${below.y})`, class: "row" };
      const beside = { x: left - 8, y: TOP + middle(place) + 4, "text-anchor": "end", class: "row" };
      root.append(svg("text", beside, shortened(name, 13)), svg("text", turned, shortened(name, 13)));
    });
    const marks = rows.flatMap((row, down) => row.cells.map((cell, along) => {
      const [x, y] = [left + along * side, TOP + down * side];
      const shade = { x, y, width: side - 1, height: side - 1, "fill-opacity": DARKEST * cell.raw };
      const node = svg("g", { class: "point" }, svg("rect", { class: "cell back", ...shade, "fill-opacity": 1 }));
      node.append(svg("rect", { class: "cell", ...shade }));
      const at = { x: x + side / 2, y: y + side / 2 + 4, "text-anchor": "middle", class: "inside" };
      if (row.images) node.append(svg("text", at, String(Math.round(100 * cell.raw))));
      const lines = [["Images", `${cell.count} of ${row.images}`], ["Share", cell.text]];
      const label = `${classes[down]} ${down === along ? "recognised" : `taken for ${classes[along]}`}`;
      return { node, x: x + side / 2, y: y + side / 2, left: x, right: x + side, label, lines };
    }));
    root.append(...marks.map((mark) => mark.node));
    this.place.replaceChildren(root);
    reachable(root, marks, classes.length);
  }
}

class Classes {
  constructor(figure, data) {
    this.data = data;
    const titles = { recall: "Recall (%)", precision: "Precision (%)", f1: "F1 (%)" };
    const options = Object.entries(titles).map(([key, text]) => option(key, text));
    this.shown = html("select", { onchange: () => this.draw() }, ...options);
    this.titles = titles;
    this.place = html("div", { class: "plot" });
    figure.append(html("div", { class: "tools" }, labelled("Show", this.shown)), this.place);
    if (data.left_out) figure.append(html("p", { class: "status" }, data.left_out));
    drawAtWidth(this.place, (width) => {
      this.width = width;
      this.draw();
    });
  }

  draw() {
    tip.hide();
    const { classes, networks } = this.data;
    const key = this.shown.value;
    const pitch = Math.max(30, 13 * networks.length + 10);
    const top = 40 + 17 * networks.length;
    const bottom = top + classes.length * pitch;
    const frame = { left: 92, right: this.width - 16, top, bottom };
    const scale = shareScale([frame.left, frame.right], Math.max(3, Math.floor(this.width / 110)));
    const longest = Math.floor((this.width - 24) / 7); // characters of a name
    const root = canvas(this.width, bottom + 48, `${this.titles[key]} by class`);
    root.append(drawAxis("x", scale, { ...SHARES, title: this.titles[key] }, frame));
    classes.forEach((name, place) => {
      const at = { x: frame.left - 8, y: top + place * pitch + pitch / 2 + 4, "text-anchor": "end", class: "row" };
      root.append(svg("text", at, shortened(name, 13)));
    });
    const marks = networks.flatMap((network, number) => {
      const group = svg("g", { class: `series s${number % COLOURS}` });
      const away = (number - (networks.length - 1) / 2) * 13;
      group.append(
        drawMark(network.kind, 8, 20 + 17 * number),
        svg("text", { x: 20, y: 24 + 17 * number, class: "row" }, shortenedInside(network.label, longest)),
      );
      root.append(group);
      return network.classes.map((one) => {
        const y = top + classes.indexOf(one.name) * pitch + pitch / 2 + away;
        const mark = this.mark(network, one, key, scale, y);
        group.append(mark.node);
        return mark;
      });
    });
    this.place.replaceChildren(root);
    reachable(root, marks);
  }

  mark(network, one, key, scale, y) {
    const x = scale(one[key].raw);
    const node = svg("g", { class: "point" });
    if (one[key].interval) {
      const [low, high] = one[key].interval.map(scale);
      node.append(svg("line", { class: "interval", x1: low, x2: high, y1: y, y2: y }));
    }
    node.append(drawMark(network.kind, x, y));
    const lines = [
      ["Images", String(one.images)],
      ["Recall", withInterval(one.recall)],
      ["Precision", one.precision.text],
      ["F1", one.f1.text],
      ...doubts(network.kind),
    ];
    return { node, x, y, left: x, right: x, label: `${network.label}, ${one.name}`, lines };
  }
}

class Reliability {
  constructor(figure, data) {
    this.networks = data.networks;
    this.place = html("div", { class: "plot" });
    figure.append(this.place);
    drawAtWidth(this.place, (width) => this.draw(width));
  }

  draw(width) {
    tip.hide();
    const height = Math.max(320, Math.min(520, width * 0.6));
    const frame = { left: 62, right: width - 12, top: 34, bottom: height - 48 };
    const x = shareScale([frame.left, frame.right - Math.min(150, width * 0.3)], Math.max(3, Math.floor(width / 110)));
    const y = shareScale([frame.bottom, frame.top], 6);
    const root = canvas(width, height, "Share of right answers over confidence");
    root.append(
      drawAxis("x", x, { ...SHARES, title: "Confidence (%)" }, frame),
      drawAxis("y", y, { ...SHARES, title: "Accuracy (%)" }, frame),
      svg("path", { class: "roof cache", d: `M${x(0)},${y(0)}L${x(1)},${y(1)}` }),
    );
    const lines = this.networks.map((network, place) => this.drawNetwork(root, network, place, x, y));
    const names = svg("g", {});
    root.append(names);
    this.place.replaceChildren(root);
    placeNames(names, lines.map((marks) => ({ ...marks.at(-1), label: shortenedInside(marks.at(-1).name, 24) })), frame);
    reachable(root, lines.flat());
  }

  drawNetwork(root, network, place, x, y) {
    const group = svg("g", { class: `series s${place % COLOURS}` });
    const at = network.bins.map((bin) => [x(bin.confidence.raw), y(bin.accuracy.raw)]);
    const marks = network.bins.map((bin, number) => {
      const [left, top] = at[number];
      const [low, high] = bin.accuracy.interval.map(y);
      const bar = svg("line", { class: "interval", x1: left, x2: left, y1: low, y2: high });
      const node = svg("g", { class: "point" }, bar, drawMark(network.kind, left, top));
      const lines = [["Confidence, mean", bin.confidence.text], ["Accuracy", withInterval(bin.accuracy)]];
      return { node, x: left, y: top, left, right: left, front: false, label: network.label, lines, name: network.label };
    });
    group.append(svg("path", { class: "line", d: `M${at.join("L")}` }), ...marks.map((mark) => mark.node));
    root.append(group);
    return marks;
  }
}
