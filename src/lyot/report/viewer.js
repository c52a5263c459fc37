// Controls of the interactive image. Bokeh draws; the images are half-precision floats in units of their noise.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const area = document.getElementById("viewer");
  const control = (name) => document.getElementById("viewer-" + name);
  const state = { plane: 0, shown: -1, cursor: [0, 0], timer: null, low: 0, high: 1 };
  const models = {};
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;

  const halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits += 1) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    let value = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    if (exponent === 31) value = fraction ? NaN : Infinity;
    halves[bits] = bits & 32768 ? -value : value;
  }

  function valuesOf(plane) {
    if (!plane.values) {
      const bytes = Uint8Array.from(atob(plane.data), (c) => c.charCodeAt(0));
      const words = new DataView(bytes.buffer);
      plane.values = new Float32Array(data.nx * data.ny);
      for (let i = 0; i < plane.values.length; i += 1) {
        plane.values[i] = halves[words.getUint16(2 * i, true)] * plane.factor;
      }
      plane.data = null;
    }
    return plane.values;
  }

  // The stretch and its inverse, between the limits and 0 to 1; the logarithm is that of ds9.
  function stretch() {
    const low = state.low, range = state.high - state.low || 1;
    const kind = control("stretch").value;
    if (kind === "log") {
      return { to: (v) => Math.log10(1 + 999 * Math.min(Math.max((v - low) / range, 0), 1)) / 3,
               from: (t) => low + range * (10 ** (3 * t) - 1) / 999 };
    }
    if (kind === "asinh") {
      const width = Math.max(data.planes[state.shown].noise, range / 1e4);
      const a = Math.asinh(low / width), b = Math.asinh(state.high / width);
      return { to: (v) => (Math.asinh(v / width) - a) / (b - a || 1), from: (t) => width * Math.sinh(a + t * (b - a)) };
    }
    return { to: (v) => (v - low) / range, from: (t) => low + t * range };
  }

  function ticks(to) {
    const top = Math.max(Math.abs(state.low), Math.abs(state.high));
    const found = [];
    const add = (v) => {
      if (v < state.low || v > state.high) return;
      const t = to(v);
      if (found.every((other) => Math.abs(other - t) > 0.06)) found.push(t);
    };
    if (control("stretch").value === "linear") {
      const range = state.high - state.low, power = 10 ** Math.floor(Math.log10(range / 4));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => range / s <= 9);
      for (let n = Math.ceil(state.low / step); n * step <= state.high; n += 1) add(n * step);
      return found;
    }
    add(0);
    for (let power = 10 ** Math.floor(Math.log10(top)), n = 0; n < 5; n += 1, power /= 10) {
      for (const m of [5, 2, 1]) { add(m * power); add(-m * power); }
    }
    return found.sort((one, other) => one - other); // or Bokeh leaves labels out
  }

  const number = (v, digits) => {
    if (!Number.isFinite(v)) return "no data";
    const size = Math.abs(v);
    const text = size && (size < 1e-3 || size >= 1e5) ? v.toExponential(digits - 1) : String(Number(v.toPrecision(digits)));
    return text.replace("-", "\u2212");
  };

  const rounded = (v) => (Math.abs(v) < 1e-9 * (state.high - state.low) ? 0 : v);

  function draw() {
    const plane = data.planes[state.shown], values = valuesOf(plane), to = stretch().to;
    const image = new Float32Array(values.length);
    for (let i = 0; i < image.length; i += 1) image[i] = Math.min(Math.max(to(values[i]), 0), 1);
    for (let i = 0; i < image.length; i += 1) if (Number.isNaN(values[i])) image[i] = NaN;
    models.image.data_source.data = { image: [new models.Array(image, [data.ny, data.nx])] };
    models.bar.ticker.ticks = ticks(to);
    control("showing").textContent = `${plane.title} [${plane.unit}]`;
    area.dataset.shown = String(state.shown);
    readout();
  }

  function limitsFrom(plane) {
    state.low = plane.low;
    state.high = plane.high;
    control("low").value = number(plane.low, 3).replace("\u2212", "-");
    control("high").value = number(plane.high, 3).replace("\u2212", "-");
  }

  function show(index) {
    if (index === state.shown) return;
    const former = data.planes[state.shown], plane = data.planes[index];
    // images of one unit keep the limits while they blink, so that what differs is the sky and not the colors
    const keep = former && former.unit === plane.unit && (control("keep").checked || state.timer !== null);
    state.shown = index;
    if (!keep) limitsFrom(plane);
    draw();
  }

  function partner() {
    const other = control("other").value;
    return other === "" ? -1 : Number(other);
  }

  function swap() {
    if (partner() >= 0) show(state.shown === state.plane ? partner() : state.plane);
  }

  function blink(on) {
    if (state.timer !== null) window.clearInterval(state.timer);
    state.timer = null;
    const button = control("blink");
    if (on && partner() >= 0) state.timer = window.setInterval(swap, 800);
    button.setAttribute("aria-pressed", String(state.timer !== null));
    button.textContent = state.timer === null ? "Blink" : "Stop";
    if (state.timer === null && state.shown !== state.plane) show(state.plane);
  }

  function readout() {
    const [x, y] = state.cursor;
    const column = Math.round(x / data.scale[0] + data.center[0]), row = Math.round(y / data.scale[1] + data.center[1]);
    const inside = column >= 0 && row >= 0 && column < data.nx && row < data.ny;
    const plane = data.planes[state.shown];
    const value = inside ? valuesOf(plane)[row * data.nx + column] : NaN;
    const east = -x, north = y;
    const angle = ((Math.atan2(east, north) * 180) / Math.PI + 360) % 360;
    const dec = data.star[1] + north / 3600;
    const ra = data.star[0] + east / 3600 / Math.cos((data.star[1] * Math.PI) / 180);
    const cells = {
      value: Number.isFinite(value) ? number(value, 3) + " " + (plane.unit === "S/N" ? "" : plane.unit) : "no data",
      offset: `${east.toFixed(2)}\u2033 E, ${north.toFixed(2)}\u2033 N`,
      polar: `${Math.hypot(east, north).toFixed(2)}\u2033, PA ${angle.toFixed(1)}\u00b0`,
      sky: `${ra.toFixed(6)}, ${dec.toFixed(6)}`,
      pixel: inside ? `${column}, ${row}` : "outside",
    };
    for (const [name, text] of Object.entries(cells)) control("at-" + name).textContent = text.replace(/-/g, "\u2212");
  }

  function point(x, y) {
    state.cursor = [x, y];
    models.cursor.visible = false;
    control("readout").removeAttribute("aria-live");
    readout();
  }

  function moveBy(columns, rows) {
    const [x, y] = state.cursor;
    state.cursor = [x + columns * data.scale[0], y + rows * data.scale[1]];
    control("readout").setAttribute("aria-live", "polite");
    models.cursor.data_source.data = { x: [state.cursor[0]], y: [state.cursor[1]] };
    models.cursor.visible = true;
    readout();
  }

  function zoom(factor) {
    const { x_range: xr, y_range: yr } = models.plot;
    const half = factor ? (factor * (xr.end - xr.start)) / 2 : data.radius;
    const x = factor ? (xr.start + xr.end) / 2 : 0, y = factor ? (yr.start + yr.end) / 2 : 0;
    xr.setv({ start: x - half, end: x + half });
    yr.setv({ start: y - half, end: y + half });
  }

  const KEYS = {
    ArrowLeft: (n) => moveBy(-n, 0), ArrowRight: (n) => moveBy(n, 0), ArrowUp: (n) => moveBy(0, n),
    ArrowDown: (n) => moveBy(0, -n), "+": () => zoom(0.8), "=": () => zoom(0.8), "-": () => zoom(1.25),
    0: () => zoom(0), " ": swap, b: () => blink(state.timer === null),
  };

  function listen() {
    control("plane").addEventListener("change", (e) => { state.plane = Number(e.target.value); show(state.plane); });
    control("other").addEventListener("change", () => { if (state.timer !== null) blink(partner() >= 0); });
    control("stretch").addEventListener("change", draw);
    control("colors").addEventListener("change", colors);
    for (const name of ["low", "high"]) {
      control(name).addEventListener("change", (e) => {
        const value = Number(e.target.value);
        if (e.target.value === "" || !Number.isFinite(value)) { limitsFrom(data.planes[state.shown]); }
        else { state[name] = value; }
        if (state.high <= state.low) limitsFrom(data.planes[state.shown]);
        draw();
      });
    }
    control("auto").addEventListener("click", () => { limitsFrom(data.planes[state.shown]); draw(); });
    control("swap").addEventListener("click", swap);
    control("blink").addEventListener("click", () => blink(state.timer === null));
    if (still) control("blink").hidden = true; // the button that swaps stays
    for (const box of area.querySelectorAll("input[data-mark]")) {
      box.addEventListener("change", () => mark(box));
      mark(box);
    }
    control("canvas").addEventListener("keydown", (e) => {
      const act = KEYS[e.key];
      if (!act || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      act(e.shiftKey ? 10 : 1);
    });
    window.addEventListener("resize", fit);
  }

  function mark(box) {
    for (const renderer of [...models.plot.renderers, ...models.plot.center]) {
      if (renderer.name === "viewer-" + box.dataset.mark) renderer.visible = box.checked;
    }
  }

  function colors() {
    models.mapper.palette = data.palettes[control("colors").value];
  }

  function fit() {
    const side = Math.max(140, Math.min(560, control("canvas").clientWidth - 165));
    if (models.plot.frame_width !== side) models.plot.setv({ frame_width: side, frame_height: side });
  }

  function start() {
    const found = window.Bokeh && Bokeh.documents.map((d) => d.get_model_by_name("viewer-plot")).find((m) => m);
    if (!found) { window.setTimeout(start, 50); return; }
    models.plot = found;
    models.image = found.renderers.find((r) => r.name === "viewer-image");
    models.cursor = found.renderers.find((r) => r.name === "viewer-cursor");
    models.bar = found.right.find((r) => r.name === "viewer-bar");
    models.mapper = models.image.glyph.color_mapper;
    const columns = models.image.data_source.data;
    models.Array = (columns instanceof Map ? columns.get("image") : columns.image)[0].constructor; // knows its shape
    listen();
    colors();
    fit();
    show(0);
    area.dataset.ready = "yes";
  }

  window.lyotViewer = {
    label: (t) => (state.shown < 0 ? "" : number(rounded(stretch().from(t)), 2)), point, models, state,
  };
  start();
})();
