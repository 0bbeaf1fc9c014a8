"use strict";
// Loss and accuracy by epoch: a colour for each training, its training images dashed, its seeds as a band.

const CROWDED = 20; // pixels between epochs, below which a mark is drawn only while it is shown

class Curves {
  constructor(figure, data) {
    this.data = data;
    const options = data.axes.map((axis, place) => option(String(place), axis.title));
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
    const panel = Number(this.shown.value);
    const axis = this.data.axes[panel];
    const height = Math.max(320, Math.min(520, this.width * 0.6));
    const frame = { left: 62, right: this.width - 12, top: 34, bottom: height - 48 };
    const values = this.data.trainings.flatMap(({ panels }) => panels[panel]).flatMap(({ epochs }) => epochs);
    const longest = Math.max(...this.data.trainings.flatMap(({ panels }) => panels[panel].map((c) => c.epochs.length)));
    const right = frame.right - Math.min(150, this.width * 0.3);
    const x = makeScale([1, longest], [frame.left, right], false, Math.max(2, Math.floor(this.width / 110)), 0.03);
    x.ticks = x.ticks.filter((tick) => Number.isInteger(tick) && tick > 0);
    const ends = values.flatMap((value) => [value.raw, ...(value.interval ?? [])]);
    const y = axis.per ? shareScale([frame.bottom, frame.top], 6)
      : makeScale([0, ...ends], [frame.bottom, frame.top], false, 6, 0.02);
    const root = canvas(this.width, height, `${axis.title} by epoch`);
    root.append(drawAxis("x", x, { title: "Epoch" }, frame), drawAxis("y", y, axis, frame));
    const lines = this.data.trainings.map((training, place) => {
      const group = svg("g", { class: `series s${place % COLOURS}` });
      root.append(group);
      return training.panels[panel].map((curve) => this.drawCurve(group, training.label, curve, axis, x, y));
    });
    const names = svg("g", {});
    root.append(names);
    this.place.replaceChildren(root);
    const last = lines.filter((curves) => curves.length).map((curves) => curves.at(-1).at(-1)); // of validation, if any
    placeNames(names, last.map((mark) => ({ ...mark, label: shortenedInside(mark.label, 24) })), frame);
    reachable(root, lines.flat(2));
  }

  drawCurve(group, label, { images, seeds, epochs }, axis, x, y) {
    const at = epochs.map((value, place) => [x(place + 1), y(value.raw)]);
    if (seeds > 1) {
      const [low, high] = [0, 1].map((end) => epochs.map((value, place) => [x(place + 1), y(value.interval[end])]));
      group.append(svg("path", { class: "band", d: `M${low.join("L")}L${high.reverse().join("L")}Z` }));
    }
    const dashes = images === "training" ? "5 4" : null;
    group.append(svg("path", { class: "line", d: `M${at.join("L")}`, "stroke-dasharray": dashes }));
    return epochs.map((value, place) => {
      const [left, top] = at[place];
      const look = x(2) - x(1) < CROWDED ? "mark faint" : "mark";
      const node = svg("g", { class: "point" }, svg("circle", { class: look, cx: left, cy: top, r: 3 }));
      group.append(node);
      const text = value.interval_text ? `${value.text} (${seeds} seeds, ${value.interval_text})` : value.text;
      const lines = [["Epoch", String(place + 1)], [`${axis.title.split(" (")[0]} of ${images} images`, text]];
      return { node, x: left, y: top, left, right: left, front: false, label, lines };
    });
  }
}
