"use strict";
// Two quantities of all networks, chosen by the reader.

/** Return which points no other beats in both quantities; none where a quantity has no better end. */
function paretoFront(points, xBetter, yBetter) {
  if (!xBetter || !yBetter) return [];
  const sign = (better) => (better === "lower" ? 1 : -1);
  const costs = points.map((point) => [sign(xBetter) * point.xValue.raw, sign(yBetter) * point.yValue.raw]);
  const beats = (a, b) => a[0] <= b[0] && a[1] <= b[1] && (a[0] < b[0] || a[1] < b[1]);
  const best = points.filter((_, place) => !costs.some((other) => beats(other, costs[place])));
  return best.sort((a, b) => a.xValue.raw - b.xValue.raw || a.yValue.raw - b.yValue.raw);
}

/** Mark a point whose published value is of another build than its cost. */
function markApart(point) {
  point.apart = point.xValue.apart ?? point.yValue.apart;
  if (point.apart) point.label = `${point.label} \u2020`;
}

class Explorer {
  constructor(figure, data) {
    this.data = data;
    this.axes = new Map(data.axes.map((axis) => [axis.id, axis]));
    this.selects = { x: this.axisSelect(data.x), y: this.axisSelect(data.y) };
    this.logs = { x: html("input", { type: "checkbox" }), y: html("input", { type: "checkbox" }) };
    for (const side of ["x", "y"]) {
      this.selects[side].addEventListener("change", () => this.choose(side));
      this.logs[side].addEventListener("change", () => this.draw());
    }
    const swap = html("button", { type: "button", onclick: () => this.swap() }, "Swap");
    this.status = html("p", { class: "status", role: "status" });
    this.place = html("div", { class: "plot" });
    figure.append(
      html(
        "div",
        { class: "tools" },
        labelled("Across", this.selects.x),
        html("label", {}, this.logs.x, html("span", {}, "logarithmic")),
        labelled("Up", this.selects.y),
        html("label", {}, this.logs.y, html("span", {}, "logarithmic")),
        swap,
      ),
      this.place,
      this.status,
    );
    this.suggestLog("x");
    this.suggestLog("y");
    drawAtWidth(this.place, (width) => {
      this.width = width;
      this.draw();
    });
  }

  axisSelect(chosen) {
    const groups = [...new Set(this.data.axes.map((axis) => axis.group))];
    const lists = groups.map((label) => {
      const axes = this.data.axes.filter((axis) => axis.group === label);
      return html("optgroup", { label }, ...axes.map((axis) => option(axis.id, axis.title, axis.id === chosen)));
    });
    return html("select", {}, ...lists);
  }

  values(side) {
    const id = this.selects[side].value;
    return this.data.points.filter((point) => id in point.values).map((point) => point.values[id].raw);
  }

  /** Logarithmic where values differ by a factor of ten or more, and only where all are above 0. */
  suggestLog(side) {
    const values = this.values(side);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    this.logs[side].disabled = low <= 0;
    this.logs[side].checked = low > 0 && high / low >= 10;
  }

  choose(side) {
    this.suggestLog(side);
    this.draw();
  }

  swap() {
    const { x, y } = this.selects;
    [x.value, y.value] = [y.value, x.value];
    for (const state of ["checked", "disabled"]) {
      [this.logs.x[state], this.logs.y[state]] = [this.logs.y[state], this.logs.x[state]];
    }
    this.draw();
  }

  draw() {
    tip.hide();
    const [x, y] = [this.selects.x.value, this.selects.y.value];
    const points = this.data.points
      .filter((point) => x in point.values && y in point.values)
      .map((point) => ({ ...point, xValue: point.values[x], yValue: point.values[y] }));
    const without = this.data.points.length - points.length;
    const [xAxis, yAxis] = [this.axes.get(x), this.axes.get(y)];
    // Two accuracies have no cost; one of them and a cost of ours may be of two builds.
    if (xAxis.key !== yAxis.key) points.forEach((point) => markApart(point));
    const marked = points.filter((point) => point.apart);
    const front = paretoFront(points.filter((point) => !point.apart), xAxis.better, yAxis.better);
    this.say(points.length, without, front.length, marked.length);
    this.place.replaceChildren();
    if (points.length) this.drawPoints(points, front, xAxis, yAxis);
  }

  say(drawn, without, onFront, marked) {
    const texts = [`${drawn} of ${drawn + without} have both quantities.`];
    if (onFront) texts.push(`${onFront} on the Pareto front.`);
    else if (drawn) texts.push("No front: for one of the quantities neither more nor less is better.");
    if (marked) texts.push(`${marked} marked \u2020: the accuracy is for another build than the cost, or of several passes; on no front.`);
    this.status.textContent = texts.join(" ");
  }

  drawPoints(points, front, xAxis, yAxis) {
    const height = Math.max(320, Math.min(520, this.width * 0.6));
    const frame = { left: 62, right: this.width - 12, top: 34, bottom: height - 48 };
    const extent = (value) => [value.raw, ...(value.interval ?? [])];
    const spread = (side) => (this.logs[side].checked ? (value) => value > 0 : () => true);
    const xs = points.flatMap((point) => extent(point.xValue)).filter(spread("x"));
    const ys = points.flatMap((point) => extent(point.yValue)).filter(spread("y"));
    const across = Math.max(3, Math.floor(this.width / 90));
    const xScale = makeScale(xs, [frame.left, frame.right], this.logs.x.checked, across);
    const yScale = makeScale(ys, [frame.bottom, frame.top], this.logs.y.checked, 6);
    const root = canvas(this.width, height, `${yAxis.title} over ${xAxis.title}`);
    root.append(drawAxis("x", xScale, xAxis, frame), drawAxis("y", yScale, yAxis, frame));
    if (front.length > 1) root.append(this.drawFront(front, xScale, yScale, xAxis));
    const marks = points
      .map((point) => this.mark(point, front.includes(point), xScale, yScale, xAxis, yAxis))
      .sort((a, b) => a.x - b.x || a.y - b.y);
    const names = svg("g", {});
    root.append(...marks.map((mark) => mark.node), names);
    this.place.append(root);
    placeNames(names, marks, frame);
    reachable(root, marks);
  }

  /** Go from best to best in steps: what one reaches holds until the next is afforded, or required. */
  drawFront(front, xScale, yScale, xAxis) {
    const step = xAxis.better === "lower" ? (x, y) => `H${x}V${y}` : (x, y) => `V${y}H${x}`;
    const places = front.map((point) => [xScale(point.xValue.raw), yScale(point.yValue.raw)]);
    const d = places.map(([x, y], place) => (place === 0 ? `M${x},${y}` : step(x, y))).join("");
    return svg("path", { class: "front", d });
  }

  mark(point, onFront, xScale, yScale, xAxis, yAxis) {
    const [x, y] = [xScale(point.xValue.raw), yScale(point.yValue.raw)];
    const node = svg("g", { class: onFront ? "point front" : "point" });
    const bar = (from, to) => node.append(svg("line", { class: "interval", ...from, ...to }));
    const ends = (value, scale) => value.interval.map((end) => scale(Math.max(end, scale.low)));
    if (point.xValue.interval) {
      const [left, right] = ends(point.xValue, xScale);
      bar({ x1: left, y1: y }, { x2: right, y2: y });
    }
    if (point.yValue.interval) {
      const [low, high] = ends(point.yValue, yScale);
      bar({ x1: x, y1: low }, { x2: x, y2: high });
    }
    node.append(drawMark(point.kind, x, y));
    const lines = [valueLine(xAxis, point.xValue), valueLine(yAxis, point.yValue), ...doubts(point.kind)];
    if (onFront) lines.push(["", "On the Pareto front"]);
    if (point.apart) lines.push(["\u2020", point.apart]);
    return { node, x, y, left: x, right: x, front: onFront, label: point.label, lines };
  }
}

function valueLine(axis, value) {
  return [axis.title, withInterval(value)];
}
