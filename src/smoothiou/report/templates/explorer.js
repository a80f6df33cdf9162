// Looks numbers up and draws them. No formula of a loss stands here: all of them come from the data element.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const rows = [...document.querySelectorAll("#numbers tbody tr")];
const names = data.losses.map((loss) => loss.name);
const { reach, centre, sides } = data;
const LONGEST = 13, FIELD_STEP = 8, BANDS = 14;
// A ticked loss takes the first free colour and keeps it until it is unticked.
const slots = new Map();
const state = { x: 28, y: 34, w: 2, h: 2, map: data.map, arrows: new Set(data.arrows), pulls: true };

// --- numbers -------------------------------------------------------------------------------------------------------

async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const count = bytes.length / 2, numbers = new Float32Array(count);
  for (let place = 0; place < count; place++) numbers[place] = fromHalf(bytes[place] | (bytes[count + place] << 8));
  return numbers;
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : (sign * fraction) / 2 ** 24;
}

// One quarter of the places is stored where a loss is its own mirror image, else all of them.
const spanOf = (loss) => (loss.whole ? 2 * reach + 1 : reach + 1);
const planeOf = (loss) => spanOf(loss) ** 2;
const blockOf = (loss) => sides.length ** 2 * planeOf(loss);

// The index of a box in the numbers.
function indexOf(loss, x, y) {
  const [row, column] = loss.whole ? [y, x] : [Math.abs(y - centre), Math.abs(x - centre)];
  return (state.w * sides.length + state.h) * planeOf(loss) + row * spanOf(loss) + column;
}

const valueAt = (loss, x, y) => loss.numbers[indexOf(loss, x, y)];

// By centre and size; in a mirror, a centre is pulled the other way and a size as before.
function gradientAt(loss, x, y) {
  const place = indexOf(loss, x, y), block = blockOf(loss);
  const [gx, gy, w, h] = [1, 2, 3, 4].map((part) => loss.numbers[part * block + place]);
  if (loss.whole) return { x: gx, y: gy, w, h };
  return { x: x < centre ? -gx : gx, y: y < centre ? -gy : gy, w, h };
}

// The ways that left, right, upper and lower side go in descent.
const pullsOf = (g) => [g.w - g.x / 2, -g.w - g.x / 2, g.h - g.y / 2, -g.h - g.y / 2];

// Of one size: the largest pull on a side, and the range of the values.
function rangeOf(loss) {
  const plane = planeOf(loss), block = blockOf(loss), n = loss.numbers;
  const start = (state.w * sides.length + state.h) * plane;
  let pull = 0, low = Infinity, high = -Infinity;
  for (let place = start; place < start + plane; place++) {
    low = Math.min(low, n[place]);
    high = Math.max(high, n[place]);
    for (const part of [1, 2])
      pull = Math.max(pull, Math.abs(n[part * block + place]) / 2 + Math.abs(n[(part + 2) * block + place]));
  }
  return { pull, low, high };
}

function format(number, digits = 3) {
  if (number === 0) return "0";
  const text = Math.abs(number) < 0.001 ? number.toExponential(1) : number.toPrecision(digits);
  return (text.includes("e+") ? String(Math.round(number)) : text).replaceAll("-", "−");
}

// --- drawing -------------------------------------------------------------------------------------------------------

const svg = (tag, attributes, parent) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
};
const round = (number) => Math.round(number * 100) / 100;

function colourOf(name) {
  if (!state.arrows.has(name)) return "transparent";
  if (!slots.has(name)) {
    const taken = new Set(slots.values());
    const free = [...Array(data.palette).keys()].filter((slot) => !taken.has(slot));
    slots.set(name, free[0] ?? names.indexOf(name) % data.palette);
  }
  return `var(--loss-${slots.get(name)})`;
}

function pathOf(x, y, dx, dy, head) {
  const length = Math.hypot(dx, dy), size = Math.min(head, 0.6 * length);
  const [ux, uy] = [(dx / length) * size, (dy / length) * size];
  const tip = [x + dx, y + dy];
  const wings = [[tip[0] - ux - 0.6 * uy, tip[1] - uy + 0.6 * ux], [tip[0] - ux + 0.6 * uy, tip[1] - uy - 0.6 * ux]];
  const line = (points) => points.map((point) => point.map(round).join(" ")).join("L");
  return `M${line([[x, y], tip])}M${line([wings[0], tip, wings[1]])}`;
}

function drawArrow(parent, x, y, dx, dy) {
  if (Math.hypot(dx, dy) < 0.15) return void svg("circle", { cx: round(x), cy: round(y), r: 0.9 }, parent);
  const path = pathOf(x, y, dx, dy, 1.9);
  svg("path", { class: "casing", d: path }, parent);
  svg("path", { d: path }, parent);
}

function drawArrows() {
  const parent = byId("arrows"), drawn = data.losses.filter((loss) => state.arrows.has(loss.name));
  parent.replaceChildren();
  const [w, h] = [sides[state.w], sides[state.h]];
  drawn.forEach((loss, order) => {
    const scale = LONGEST / (loss.range.pull || 1);
    const [left, right, up, down] = pullsOf(gradientAt(loss, state.x, state.y)).map((pull) => pull * scale);
    const along = (order - (drawn.length - 1) / 2) * Math.min(3.2, (Math.min(w, h) * 0.8) / Math.max(drawn.length - 1, 1));
    const group = svg("g", { class: "arrow", style: `--colour: ${colourOf(loss.name)}`, "data-loss": loss.name }, parent);
    drawArrow(group, state.x - w / 2, state.y + along, left, 0);
    drawArrow(group, state.x + w / 2, state.y + along, right, 0);
    drawArrow(group, state.x + along, state.y - h / 2, 0, up);
    drawArrow(group, state.x + along, state.y + h / 2, 0, down);
  });
}

function drawField() {
  const parent = byId("field"), loss = mapped();
  parent.replaceChildren();
  if (!state.pulls) return;
  let top = 0;
  const pulls = [];
  for (let y = 0; y <= 2 * reach; y += FIELD_STEP)
    for (let x = 0; x <= 2 * reach; x += FIELD_STEP) {
      const g = gradientAt(loss, x, y), pull = [-g.x, -g.y];
      top = Math.max(top, Math.hypot(...pull));
      pulls.push([x, y, ...pull]);
    }
  for (const [x, y, dx, dy] of pulls) {
    const share = Math.hypot(dx, dy) / (top || 1);
    if (share < 1e-6) svg("circle", { cx: x, cy: y, r: 0.45 }, parent);
    else {
      // The root of the length, so that weak pulls still show their way.
      const length = 6.4 / Math.sqrt(share) / (top || 1);
      svg("path", { d: pathOf(x - (dx * length) / 2, y - (dy * length) / 2, dx * length, dy * length, 1.3) }, parent);
    }
  }
}

function rgb(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  probe.remove();
  return parts;
}

function drawMap() {
  const canvas = document.querySelector(".scene canvas"), context = canvas.getContext("2d");
  const size = canvas.width, loss = mapped(), { low, high } = loss.range;
  const [near, far, edge] = [rgb("--map-low"), rgb("--map-high"), rgb("--contour")];
  const image = context.createImageData(size, size), share = new Float32Array(size * size);
  const step = (2 * reach) / (size - 1);
  for (let row = 0; row < size; row++) {
    const y = row * step, y0 = Math.min(Math.floor(y), 2 * reach - 1), fy = y - y0;
    for (let column = 0; column < size; column++) {
      const x = column * step, x0 = Math.min(Math.floor(x), 2 * reach - 1), fx = x - x0;
      const upper = valueAt(loss, x0, y0) * (1 - fx) + valueAt(loss, x0 + 1, y0) * fx;
      const lower = valueAt(loss, x0, y0 + 1) * (1 - fx) + valueAt(loss, x0 + 1, y0 + 1) * fx;
      share[row * size + column] = (upper * (1 - fy) + lower * fy - low) / (high - low || 1);
    }
  }
  const band = (row, column) =>
    Math.floor(share[Math.min(row, size - 1) * size + Math.min(column, size - 1)] * BANDS * 0.9999);
  for (let row = 0; row < size; row++)
    for (let column = 0; column < size; column++) {
      const place = row * size + column, level = band(row, column);
      const line = band(row, column + 2) !== level || band(row + 2, column) !== level;
      for (let part = 0; part < 3; part++)
        image.data[4 * place + part] = line ? edge[part] : near[part] + (far[part] - near[part]) * share[place];
      image.data[4 * place + 3] = 255;
    }
  context.putImageData(image, 0, 0);
  byId("low").textContent = format(low);
  byId("high").textContent = format(high);
  byId("map-name").textContent = loss.name;
}

const mapped = () => data.losses[names.indexOf(state.map)];

function fill(cell, number, digits) {
  cell.textContent = format(number, digits);
  cell.dataset.value = number;
  cell.classList.toggle("zero", number === 0);
}

function drawNumbers() {
  rows.forEach((row, order) => {
    const loss = data.losses[order], g = gradientAt(loss, state.x, state.y), cells = row.cells;
    row.style.setProperty("--colour", colourOf(loss.name));
    row.classList.toggle("on", loss.name === state.map);
    row.classList.toggle("drawn", state.arrows.has(loss.name));
    cells[0].children[0].checked = state.arrows.has(loss.name);
    cells[0].children[1].checked = loss.name === state.map;
    fill(cells[2], valueAt(loss, state.x, state.y), 3);
    [g.x, g.y, g.w, g.h].forEach((part, place) => fill(cells[3 + place], 0 - part, 2));
  });
  byId("iou").textContent = valueAt(data.overlap, state.x, state.y).toFixed(3);
  byId("centre").textContent = `(${state.x}, ${state.y})`;
  byId("size").textContent = `${sides[state.w]} × ${sides[state.h]}`;
  for (const [id, side] of [["width", state.w], ["height", state.h]]) {
    byId(id).value = side;
    byId(id).setAttribute("aria-valuetext", `${sides[side]} pixels`);
    byId(id).nextElementSibling.textContent = `${sides[side]} px`;
  }
  const row = rows[names.indexOf(state.map)];
  byId("formula").replaceChildren(
    Object.assign(document.createElement("b"), { textContent: state.map }),
    ` ${row.dataset.formula}${row.dataset.formula && ". "}${row.dataset.summary}`,
  );
}

let spoken;
function speak() {
  clearTimeout(spoken);
  spoken = setTimeout(() => {
    const value = format(valueAt(mapped(), state.x, state.y));
    byId("spoken").textContent =
      `centre ${state.x}, ${state.y}; IoU ${byId("iou").textContent}; ${state.map} ${value}`;
  }, 300);
}

function drawBox() {
  const [w, h] = [sides[state.w], sides[state.h]], rect = byId("box").firstElementChild;
  for (const [key, value] of Object.entries({ x: state.x - w / 2, y: state.y - h / 2, width: w, height: h }))
    rect.setAttribute(key, value);
}

// What changed decides what is drawn: the map does not depend on where the box is.
function draw({ size = false, map = false } = {}) {
  if (size) for (const loss of data.losses) loss.range = rangeOf(loss);
  if (size || map) {
    drawMap();
    drawField();
  }
  drawBox();
  drawArrows();
  drawNumbers();
  speak();
  const { x, y, w, h } = state;
  const place = `#x=${x}&y=${y}&w=${sides[w]}&h=${sides[h]}&map=${encodeURIComponent(state.map)}`;
  clearTimeout(draw.timer);
  draw.timer = setTimeout(() => history.replaceState(null, "", place), 200);
}

// --- input ---------------------------------------------------------------------------------------------------------

const within = (number) => Math.min(Math.max(Math.round(number), 0), 2 * reach);

function moveTo(x, y) {
  state.x = within(x);
  state.y = within(y);
  draw();
}

function listen() {
  const scene = byId("scene"), box = byId("box"), picture = scene.querySelector("svg");
  const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
  let held = null;
  scene.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const { x, y } = place(event);
    const inside = Math.abs(x - state.x) <= sides[state.w] / 2 && Math.abs(y - state.y) <= sides[state.h] / 2;
    held = inside ? { x: x - state.x, y: y - state.y } : { x: 0, y: 0 };
    scene.setPointerCapture(event.pointerId);
    box.focus({ preventScroll: true });
    if (!inside) moveTo(x, y);
    event.preventDefault();
  });
  scene.addEventListener("pointermove", (event) => {
    if (!held) return;
    const { x, y } = place(event);
    moveTo(x - held.x, y - held.y);
  });
  for (const end of ["pointerup", "pointercancel"]) scene.addEventListener(end, () => (held = null));
  box.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
    const step = event.shiftKey ? 5 : 1;
    moveTo(state.x + step * way[0], state.y + step * way[1]);
    event.preventDefault();
  });
  for (const [id, key] of [["width", "w"], ["height", "h"]])
    byId(id).addEventListener("input", (event) => {
      state[key] = Number(event.target.value);
      draw({ size: true });
    });
  byId("places").addEventListener("click", (event) => {
    const { x, y } = event.target.dataset;
    if (x) moveTo(Number(x), Number(y));
  });
  byId("pulls").addEventListener("change", (event) => {
    state.pulls = event.target.checked;
    drawField();
  });
  rows.forEach((row, order) => {
    const [arrows, map] = row.cells[0].children;
    arrows.addEventListener("change", () => {
      state.arrows[arrows.checked ? "add" : "delete"](names[order]);
      if (!arrows.checked) slots.delete(names[order]);
      draw();
    });
    map.addEventListener("change", () => {
      state.map = names[order];
      draw({ map: true });
    });
    row.cells[1].addEventListener("click", () => map.click());
  });
  byId("theme").hidden = false;
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    drawMap();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMap);
}

function fromAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  for (const key of ["x", "y"]) if (address.has(key) && isFinite(address.get(key))) state[key] = within(address.get(key));
  for (const key of ["w", "h"]) if (sides.includes(Number(address.get(key)))) state[key] = sides.indexOf(Number(address.get(key)));
  if (names.includes(address.get("map"))) state.map = address.get("map");
}

async function start() {
  data.overlap = { whole: false, numbers: await unpack(data.iou) };
  await Promise.all(data.losses.map(async (loss) => (loss.numbers = await unpack(loss.packed))));
  data.arrows.forEach(colourOf);
  fromAddress();
  listen();
  draw({ size: true, map: true });
  root.dataset.ready = "yes";
}

start().catch((error) => {
  const message = byId("failed");
  message.textContent = `This browser cannot unpack the numbers (${error}). Chrome 80, Firefox 113, Safari 16.4 or newer can.`;
  message.hidden = false;
});
