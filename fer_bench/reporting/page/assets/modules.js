"use strict";
// Where the multiply-accumulates go: a row for each network, or for each module of one.

const BAR = 18; // pixels

class Modules {
  constructor(figure, data) {
    this.networks = data.networks;
    this.chosen = html(
      "select",
      { onchange: () => this.draw() },
      ...(this.networks.length > 1 ? [option("all", "all, a row each")] : []),
      ...this.networks.map((network, place) => option(String(place), network.label)),
    );
    this.place = html("div", { class: "plot" });
    figure.append(html("div", { class: "tools" }, labelled("Network", this.chosen)), this.place);
    if (data.left_out) figure.append(html("p", { class: "status" }, data.left_out));
    drawAtWidth(this.place, (width) => {
      this.width = width;
      this.draw();
    });
  }

  rows() {
    if (this.chosen.value === "all") {
      return this.networks.map((network) => ({ name: network.label, end: network.macs, parts: network.whole, network }));
    }
    const network = this.networks[Number(this.chosen.value)];
    return network.parts.map((part) => ({ name: part.path, end: part.share_text, parts: [part], network }));
  }

  draw() {
    tip.hide();
    const rows = this.rows();
    const narrow = this.width < 560;
    const pitch = narrow ? 40 : 25;
    const height = 34 + rows.length * pitch + 52;
    const sides = narrow ? { left: 8, right: this.width - 16 } : { left: 190, right: this.width - 84 };
    const frame = { ...sides, top: 28, bottom: height - 48, twice: true };
    const all = this.chosen.value === "all";
    const longest = all ? 1 : Math.max(...rows.map(({ parts: [part] }) => part.share));
    const ticks = Math.max(3, Math.floor(this.width / 110));
    const scale = makeScale([0, longest], [frame.left, frame.right], false, ticks, 0);
    const root = canvas(this.width, height, "Where the MACs are");
    const axis = { title: "Share of the network's MACs (%)", per: 0.01 };
    root.append(drawAxis("x", scale, axis, frame));
    const marks = rows.flatMap((row, place) => {
      const top = 34 + place * pitch + (narrow ? 18 : 0);
      this.nameRow(root, row, top, frame, narrow);
      return this.drawParts(root, row, top, scale);
    });
    this.place.replaceChildren(root);
    if (all) this.nameParts(root, marks);
    reachable(root, marks);
  }

  nameRow(root, { name, end }, top, frame, narrow) {
    const base = narrow ? top - 4 : top + BAR / 2 + 4;
    const left = narrow ? { x: frame.left } : { x: frame.left - 10, "text-anchor": "end" };
    const right = narrow ? { x: frame.right, "text-anchor": "end" } : { x: frame.right + 10 };
    root.append(
      svg("text", { ...left, y: base, class: "row" }, shortened(name, narrow ? 34 : 24)),
      svg("text", { ...right, y: base }, end),
    );
  }

  drawParts(root, { parts, network }, top, scale) {
    let start = 0;
    return parts.map((part, place) => {
      const [left, right] = [scale(start), scale(start + part.share)];
      start += part.share;
      const kind = part.merged ? "merged" : place % 2 ? "odd" : "even";
      const size = { width: Math.max(1, right - left), height: BAR };
      const node = svg("g", { class: "point" }, svg("rect", { class: `segment ${kind}`, x: left, y: top, ...size }));
      root.append(node);
      const lines = [
        ...(part.type ? [["Type", part.type]] : []),
        ["MACs", `${part.macs}, ${part.share_text} of the network's ${network.macs}`],
        ["Parameters", part.parameters],
        ...(part.merged ? [["Modules", part.merged]] : []),
        ...doubts(network.kind),
      ];
      const label = `${network.label}: ${part.path}`;
      return { node, x: (left + right) / 2, y: top + BAR / 2, left, right, label, lines, name: part.path };
    });
  }

  /** Write names into the segments that have room for them: all are written, then measured, then some are removed. */
  nameParts(root, marks) {
    const names = marks.map(({ x, y, left, right, name }) => {
      const place = { x, y: y + 4, "text-anchor": "middle", class: "inside", "aria-hidden": "true" };
      return { text: svg("text", place, name), room: right - left - 6 };
    });
    root.append(...names.map(({ text }) => text));
    const crowded = names.filter(({ text, room }) => text.getComputedTextLength() > room);
    for (const { text } of crowded) text.remove();
  }
}
