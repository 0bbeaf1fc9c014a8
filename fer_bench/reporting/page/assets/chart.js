"use strict";
// What the figures share: scales, axes, marks that pointer and keyboard reach.

const PREFIXES = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];
const REACH = 30; // pixels from a pointer to the mark that it means
let pointer = ""; // where it last was, in the window

/**
 * Write the number of a tick briefly: 2000000 is "2 M" where prefixes are written.
 *
 * An axis has a title, and at need `per`, raw units in a written one, `prefixed` and a `suffix`.
 */
function tickText(value, axis) {
  const written = value / (axis.per ?? 1);
  const [step, prefix] = (axis.prefixed && PREFIXES.find(([size]) => Math.abs(written) >= size)) || [1, ""];
  return [String(Number((written / step).toPrecision(6))), prefix || axis.suffix].filter(Boolean).join("\u2009");
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, place) => (first + place) * step);
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  const steps = decades > count ? [1] : decades > count / 3 ? [1, 3] : [1, 2, 5];
  const stride = Math.max(1, Math.round(decades / count));
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += stride) {
    ticks.push(...steps.map((step) => Number(`${step}e${power}`)).filter((tick) => tick >= low && tick <= high));
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high, count);
}

/** Make a scale from values to pixels, with some room at either end. */
function makeScale(values, [from, to], log, count, room = 0.06) {
  const bend = log ? Math.log10 : (value) => value;
  const unbend = log ? (value) => 10 ** value : (value) => value;
  let [low, high] = [Math.min(...values), Math.max(...values)].map(bend);
  const spare = (high - low || Math.abs(high) || 1) * room;
  [low, high] = [low - spare, high + spare];
  const scale = (value) => from + ((bend(value) - low) / (high - low)) * (to - from);
  scale.low = unbend(low);
  scale.high = unbend(high);
  scale.ticks = (log ? logTicks : linearTicks)(scale.low, scale.high, count);
  return scale;
}

/** Draw lines, numbers and title of an axis; `frame` has left, right, top and bottom, and `twice` for a tall one. */
function drawAxis(side, scale, axis, frame) {
  const group = svg("g", { class: "axis", "aria-hidden": "true" });
  for (const tick of scale.ticks) {
    const at = scale(tick);
    const line = side === "x" ? { x1: at, x2: at, y1: frame.top, y2: frame.bottom }
      : { x1: frame.left, x2: frame.right, y1: at, y2: at };
    const place = side === "x" ? { x: at, y: frame.bottom + 18, "text-anchor": "middle" }
      : { x: frame.left - 8, y: at + 4, "text-anchor": "end" };
    group.append(svg("line", line), svg("text", place, tickText(tick, axis)));
    if (frame.twice && side === "x") group.append(svg("text", { ...place, y: frame.top - 8 }, tickText(tick, axis)));
  }
  const title = side === "x" ? { x: (frame.left + frame.right) / 2, y: frame.bottom + 40, "text-anchor": "middle" }
    : { x: 2, y: frame.top - 12, "text-anchor": "start" };
  group.append(svg("text", { ...title, class: "title" }, axis.title));
  return group;
}

/** Draw a mark: a disc, hollow where a network is doubted, a square where a paper published it. */
function drawMark(kind, x, y) {
  if (kind === "published") return svg("rect", { class: "mark published", x: x - 5, y: y - 5, width: 10, height: 10 });
  return svg("circle", { class: `mark ${kind}`, cx: x, cy: y, r: 5.5 });
}

/**
 * Let pointer and keyboard reach marks: the figure is one stop of the Tab key, arrows go from mark to mark.
 *
 * A mark has its `node`, its place in pixels, a `label` and the `lines` to show: pairs of heading and text. Of a grid
 * `across` is how many stand in a row.
 */
function reachable(figure, marks, across = 1) {
  let current = null;

  const show = (mark) => {
    current?.node.classList.remove("shown");
    current = mark;
    mark.node.classList.add("shown");
    tip.show(mark.node.getBoundingClientRect(), mark.label, mark.lines);
  };
  const hide = () => {
    current?.node.classList.remove("shown");
    current = null;
    tip.hide();
  };
  // Without a mark under the pointer the one that has the focus is shown.
  const rest = () => {
    const focused = marks.find((mark) => mark.node === document.activeElement);
    if (focused) show(focused);
    else hide();
  };
  const go = (place) => {
    marks.forEach((mark, other) => mark.node.setAttribute("tabindex", other === place ? "0" : "-1"));
    marks[place].node.focus();
  };
  const steps = { ArrowRight: 1, ArrowDown: across, ArrowLeft: -1, ArrowUp: -across, Home: -marks.length, End: marks.length };

  marks.forEach((mark, place) => {
    const texts = mark.lines.map(([heading, text]) => (heading ? `${heading}: ${text}` : text));
    filled(mark.node, {
      tabindex: place === 0 ? "0" : "-1",
      role: "img",
      "aria-label": [mark.label, ...texts].join("; "),
      onfocus: () => show(mark),
      onblur: hide,
      onkeydown: (event) => {
        if (!(event.key in steps)) return;
        event.preventDefault();
        go(Math.max(0, Math.min(marks.length - 1, place + steps[event.key])));
      },
    }, []);
  });
  const point = (event) => {
    const at = `${event.clientX} ${event.clientY}`;
    if (event.type === "pointermove" && at === pointer) return; // the page moved below it, and nobody pointed
    pointer = at;
    const box = figure.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const away = (mark) => Math.hypot(Math.max(mark.left - x, 0, x - mark.right), mark.y - y);
    const nearest = marks.reduce((best, mark) => (best && away(best) <= away(mark) ? best : mark), null);
    if (nearest && away(nearest) < REACH) {
      if (nearest !== current) show(nearest);
    } else {
      rest();
    }
  };
  figure.addEventListener("pointermove", point);
  figure.addEventListener("pointerdown", point);
  figure.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && rest()); // a finger always leaves
}

/** Write names beside marks where there is room, the most important first. */
function placeNames(group, marks, frame) {
  const covered = marks.map(({ x, y }) => ({ left: x - 6, right: x + 6, top: y - 6, bottom: y + 6 }));
  const free = (box) =>
    box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom &&
    covered.every((other) =>
      box.right < other.left || box.left > other.right || box.bottom < other.top || box.top > other.bottom);
  for (const mark of [...marks].sort((a, b) => b.front - a.front)) {
    const text = svg("text", { class: mark.front ? "name front" : "name", "aria-hidden": "true" }, mark.label);
    group.append(text);
    const width = text.getComputedTextLength();
    const places = [[9, 4], [-9 - width, 4], [-width / 2, -10], [-width / 2, 19], [7, -8], [7, 16]];
    const room = places
      .map(([dx, dy]) => [mark.x + dx, mark.y + dy])
      .map(([left, base]) => ({ left, right: left + width, top: base - 11, bottom: base + 3 }))
      .find(free);
    if (!room) {
      text.remove();
      continue;
    }
    covered.push(room);
    filled(text, { x: room.left, y: room.bottom - 3 }, []);
  }
}

/** Describe what the look of a mark means. */
function doubts(kind) {
  const said = { doubted: "Reconstruction or stand-in", published: "As published, not measured" }[kind];
  return said ? [["", said]] : [];
}

function shortened(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}\u2026` : text;
}

/** Shorten a network's name by its middle: the settings at its end distinguish results. */
function shortenedInside(text, length) {
  const half = Math.floor((length - 1) / 2);
  return text.length > length ? `${text.slice(0, half)}\u2026${text.slice(-half)}` : text;
}

function withInterval(value) {
  return value.interval_text ? `${value.text} (95 % interval ${value.interval_text})` : value.text;
}

function canvas(width, height, label) {
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
}

/** Draw a figure now and whenever its width changes, so that its texts keep their size on every screen. */
function drawAtWidth(place, draw) {
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width !== drawn && width > 0) draw((drawn = width));
  }).observe(place);
}
