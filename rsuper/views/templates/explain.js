"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PLANES = [
    { name: "Axial", axis: 2, across: 0, down: 1, ends: ["R", "L", "A", "P"] },
    { name: "Coronal", axis: 1, across: 0, down: 2, ends: ["R", "L", "S", "I"] },
    { name: "Sagittal", axis: 0, across: 1, down: 2, ends: ["A", "P", "S", "I"] },
  ];
  const BIT = { organ: 1, host: 2, region: 4, truth: 8, centers: 16, spared: 32 };
  // place × pull: core, shell, rest, outside, unknown × alone, up, down
  const TOLD = [
    null,
    [200, 208, 216, 130], [255, 110, 10, 215], [20, 80, 190, 200],
    [200, 208, 216, 120], [255, 160, 90, 150], [30, 95, 205, 165],
    [200, 208, 216, 90], [255, 180, 125, 95], [63, 140, 255, 115],
    [200, 208, 216, 60], [255, 190, 140, 60], [90, 155, 255, 48],
    [200, 208, 216, 105], [255, 180, 125, 95], [63, 140, 255, 115],
  ];
  const COLOURS = { organ: "#9fb3c8", host: "#3fe0a8", region: "#f08ad4", truth: "#f7e94a", ball: "#ff5fc0", low: "#ffa45c", high: "#ff9ad6" };
  const lessons = {};

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async function load(key) {
    const raw = data[key];
    const lesson = { ...raw, cursor: raw.focus.slice(), panels: [], told: {} };
    lesson.grey = await unpack(raw.grey);
    lesson.bits = await unpack(raw.bits);
    for (const [name, text] of Object.entries(raw.guesses)) lesson.told[name] = await unpack(text);
    lesson.guess = Object.keys(raw.guesses)[0];
    lesson.extent = raw.shape.map((n, d) => n * raw.spacing[d]);
    return lesson;
  }

  /** Seen from the feet and from the left: the patient's right is on the left, the front and the head are on top. */
  const flipped = (lesson, axis, at) => lesson.shape[axis] - 1 - at;

  function setView(lesson) {
    // a frame that holds the lesions and the ball; the organ where there are none
    const [I, J, K] = lesson.shape;
    const low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
    const add = (point, mm) => point.forEach((at, d) => {
      low[d] = Math.min(low[d], (at + .5) * lesson.spacing[d] - mm);
      high[d] = Math.max(high[d], (at + .5) * lesson.spacing[d] + mm);
    });
    const balls = lesson.balls[lesson.guess];
    const peak = lesson.peaks[lesson.guess];
    if (peak && lesson.guess === "wrong_part") add(peak, 20);
    for (const ball of balls) add(ball.at, Math.max(.9 * (ball.high || ball.ball), 30));
    const [bit, rim] = balls.length ? [BIT.truth, 16] : lesson.bits.some((b) => b & BIT.truth) ? [BIT.truth, 36] : [BIT.organ, 10];
    for (let i = 0, n = 0; i < I; i++) for (let j = 0; j < J; j++) for (let k = 0; k < K; k++, n++) if (lesson.bits[n] & bit) add([i, j, k], rim);
    const side = Math.max(76, ...low.map((at, d) => high[d] - at));
    lesson.view = { middle: low.map((at, d) => (at + high[d]) / 2), side };
  }

  /** Closed loops around a mask of one slice, corners in voxels. */
  function loops(inside, columns, rows) {
    const next = new Map();
    const at = (x, y) => x >= 0 && y >= 0 && x < columns && y < rows && inside[y * columns + x];
    const put = (x0, y0, x1, y1) => {
      const key = y0 * (columns + 1) + x0;
      if (next.has(key)) next.get(key).push([x1, y1]); else next.set(key, [[x1, y1]]);
    };
    for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
      if (!inside[y * columns + x]) continue;
      if (!at(x, y - 1)) put(x, y, x + 1, y);
      if (!at(x + 1, y)) put(x + 1, y, x + 1, y + 1);
      if (!at(x, y + 1)) put(x + 1, y + 1, x, y + 1);
      if (!at(x - 1, y)) put(x, y + 1, x, y);
    }
    const found = [];
    for (const [start, ends] of next) while (ends.length) {
      const loop = [[start % (columns + 1), Math.floor(start / (columns + 1))]];
      let point = ends.pop();
      while (point[1] * (columns + 1) + point[0] !== start) {
        loop.push(point);
        const more = next.get(point[1] * (columns + 1) + point[0]);
        if (!more || !more.length) break;
        point = more.pop();
      }
      found.push(loop);
    }
    return found;
  }

  /** The mean of five corners along a loop: a line instead of stairs, less than half a voxel away from them. */
  function smooth(loop) {
    const n = loop.length;
    if (n < 12) return loop;
    return loop.map((_, i) => [-2, -1, 0, 1, 2].reduce((sum, d) => {
      const [x, y] = loop[(i + d + n) % n];
      return [sum[0] + x / 5, sum[1] + y / 5];
    }, [0, 0]));
  }

  function slice(lesson, plane) {
    const { axis, across, down } = plane;
    const [, J, K] = lesson.shape;
    const stride = [J * K, K, 1];
    const columns = lesson.shape[across], rows = lesson.shape[down];
    const first = lesson.cursor[axis] * stride[axis];
    return { columns, rows, index: (x, y) => first + flipped(lesson, across, x) * stride[across] + flipped(lesson, down, y) * stride[down] };
  }

  function layer(cut, colour) {
    const canvas = document.createElement("canvas");
    canvas.width = cut.columns;
    canvas.height = cut.rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(cut.columns, cut.rows);
    for (let y = 0, n = 0; y < cut.rows; y++) for (let x = 0; x < cut.columns; x++, n += 4) {
      const rgba = colour(cut.index(x, y));
      if (rgba) image.data.set(rgba, n);
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  function draw(lesson, panel) {
    const { canvas, plane, show } = panel;
    const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    if (!width) return;
    if (canvas.width !== width) { canvas.width = width; canvas.height = width; }
    const context = canvas.getContext("2d");
    const cut = slice(lesson, plane);
    const { middle, side } = lesson.view;
    const scale = width / side;
    const seen = (axis, mm) => lesson.extent[axis] - mm;
    const left = seen(plane.across, middle[plane.across]) - side / 2, top = seen(plane.down, middle[plane.down]) - side / 2;
    const sx = lesson.spacing[plane.across] * scale, sy = lesson.spacing[plane.down] * scale;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, width);
    context.setTransform(sx, 0, 0, sy, -left * scale, -top * scale);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(layer(cut, (n) => [lesson.grey[n], lesson.grey[n], lesson.grey[n], 255]), 0, 0);
    const told = lesson.told[lesson.guess];
    if (show === "belief") context.drawImage(layer(cut, (n) => heat(told[n] >> 4)), 0, 0);
    if (show === "pull") {
      context.imageSmoothingEnabled = false;
      context.drawImage(layer(cut, (n) => TOLD[told[n] & 15]), 0, 0);
    }
    const pen = Math.max(1.4, width / 260);
    const outline = (name, dash, weight) => {
      const inside = new Uint8Array(cut.columns * cut.rows);
      let any = false;
      for (let y = 0, n = 0; y < cut.rows; y++) for (let x = 0; x < cut.columns; x++, n++) if (lesson.bits[cut.index(x, y)] & BIT[name]) inside[n] = any = true;
      if (!any) return;
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      for (const loop of loops(inside, cut.columns, cut.rows)) {
        const at = smooth(loop).map(([x, y]) => [(x * lesson.spacing[plane.across] - left) * scale, (y * lesson.spacing[plane.down] - top) * scale]);
        const half = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
        const from = half(at[at.length - 1], at[0]);
        context.moveTo(...from);
        at.forEach((point, n) => context.quadraticCurveTo(...point, ...half(point, at[(n + 1) % at.length])));
        context.closePath();
      }
      context.lineWidth = pen * weight;
      context.setLineDash(dash.map((part) => part * pen));
      context.lineCap = "round";
      context.strokeStyle = COLOURS[name];
      context.stroke();
      if (show === "place" && name === "host") { context.fillStyle = "#3fe0a826"; context.fill(); }
      if (show === "place" && name === "region") { context.fillStyle = "#f08ad41f"; context.fill(); }
      context.setLineDash([]);
    };
    if (show === "place") { outline("organ", [], .7); outline("region", [.1, 2.2], 1.1); outline("host", [], 1.1); outline("truth", [3, 2.4], 1.1); }
    if (show === "belief") { outline("region", [.1, 2.2], 1); outline("truth", [3, 2.4], 1.1); }
    if (show === "pull") { outline("region", [.1, 2.2], .9); outline("truth", [3, 2.4], .9); }
    context.setTransform(1, 0, 0, 1, 0, 0);
    if (show !== "place") for (const ball of lesson.balls[lesson.guess]) circles(lesson, context, plane, ball, { left, top, scale, pen, show });
    marks(context, plane, width, scale);
  }

  const heat = (level) => {
    const p = (level / 15) ** 2;
    return level > 1 ? [255, 150 + 95 * p, 20 + 150 * p, 235 * Math.min(1, .04 + 1.5 * p / (p + .6))] : null;
  };

  function circles(lesson, context, plane, ball, { left, top, scale, pen, show }) {
    const off = (lesson.cursor[plane.axis] - ball.at[plane.axis]) * lesson.spacing[plane.axis];
    const mm = (axis) => (flipped(lesson, axis, ball.at[axis]) + .5) * lesson.spacing[axis];
    const x = (mm(plane.across) - left) * scale, y = (mm(plane.down) - top) * scale;
    const ring = (diameter, colour, weight, dash) => {
      if (!diameter) return;
      const squared = diameter * diameter / 4 - off * off;
      if (squared <= 0) return;
      context.beginPath();
      context.arc(x, y, Math.sqrt(squared) * scale, 0, 7);
      context.lineWidth = pen * weight;
      context.setLineDash(dash.map((part) => part * pen));
      context.strokeStyle = colour;
      context.stroke();
      context.setLineDash([]);
    };
    ring(ball.ball, COLOURS.ball, show === "pull" ? .9 : 1.5, []);
    if (show === "belief") { ring(ball.low, COLOURS.low, 1, []); ring(ball.high, COLOURS.high, 1, [3, 2]); }
    if (show === "belief" && Math.abs(off) < lesson.spacing[plane.axis] / 2 + 1e-6) {
      context.beginPath();
      context.moveTo(x - 3 * pen, y); context.lineTo(x + 3 * pen, y); context.moveTo(x, y - 3 * pen); context.lineTo(x, y + 3 * pen);
      context.lineWidth = pen;
      context.strokeStyle = "#fff";
      context.stroke();
    }
  }

  function marks(context, plane, width, scale) {
    const size = Math.max(11, width / 26);
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.fillStyle = "#ffffffd0";
    context.textBaseline = "middle";
    context.textAlign = "left";
    context.fillText(plane.ends[0], size * .5, width / 2);
    context.textAlign = "right";
    context.fillText(plane.ends[1], width - size * .5, width / 2);
    context.textAlign = "center";
    context.fillText(plane.ends[2], width / 2, size * .9);
    context.fillText(plane.ends[3], width / 2, width - size * .8);
    const bar = 100 * scale < width * .4 ? 50 : 20;
    context.fillRect(width - size - bar * scale, width - size * .8, bar * scale, Math.max(2, width / 200));
    context.font = `500 ${size * .8}px system-ui, sans-serif`;
    context.textAlign = "right";
    context.fillText(`${bar} mm`, width - size, width - size * 1.5);
  }

  function refresh(lesson) {
    for (const panel of lesson.panels) {
      const { plane } = panel;
      panel.slider.value = lesson.cursor[plane.axis];
      const offset = (lesson.cursor[plane.axis] - lesson.centre[plane.axis]) * lesson.spacing[plane.axis];
      const where = ["to the right", "to the front", "up"], back = ["to the left", "to the back", "down"];
      panel.label.textContent = Math.abs(offset) < 1e-6 ? `through the ${lesson.name}` : `${Math.abs(offset).toFixed(0)} mm ${(offset > 0 ? where : back)[plane.axis]}`;
      draw(lesson, panel);
    }
  }

  function build(lesson, holder) {
    for (const plane of PLANES) {
      const figure = document.createElement("figure");
      figure.className = "plane";
      const caption = document.createElement("figcaption");
      const title = document.createElement("b");
      title.textContent = plane.name;
      const label = document.createElement("span");
      caption.append(title, label);
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 10;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${plane.name} slice`);
      const slider = document.createElement("input");
      slider.type = "range";
      slider.min = 0;
      slider.max = lesson.shape[plane.axis] - 1;
      slider.setAttribute("aria-label", `${plane.name} slice`);
      const panel = { plane, canvas, slider, label, show: holder.dataset.show };
      slider.addEventListener("input", () => { lesson.cursor[plane.axis] = Number(slider.value); refresh(lesson); });
      canvas.addEventListener("click", (event) => {
        const box = canvas.getBoundingClientRect();
        const { middle, side } = lesson.view;
        [[plane.across, (event.clientX - box.left) / box.width], [plane.down, (event.clientY - box.top) / box.height]].forEach(([axis, share]) => {
          const mm = lesson.extent[axis] - middle[axis] - side / 2 + share * side;
          const at = lesson.shape[axis] - 1 - Math.floor(mm / lesson.spacing[axis]);
          lesson.cursor[axis] = Math.min(lesson.shape[axis] - 1, Math.max(0, at));
        });
        refresh(lesson);
      });
      canvas.addEventListener("wheel", (event) => {
        if (!event.shiftKey) return;
        event.preventDefault();
        const step = Math.sign(event.deltaY || event.deltaX);
        lesson.cursor[plane.axis] = Math.min(lesson.shape[plane.axis] - 1, Math.max(0, lesson.cursor[plane.axis] + step));
        refresh(lesson);
      }, { passive: false });
      figure.append(caption, canvas, slider);
      holder.append(figure);
      lesson.panels.push(panel);
    }
  }

  function go(lesson, voxel, name) {
    lesson.centre = voxel.slice();
    lesson.cursor = voxel.slice();
    lesson.name = name;
  }

  /** Buttons that take all slices to a place. */
  function jumps(lesson, bar) {
    const balls = lesson.balls[lesson.guess];
    const places = balls.map((ball, n) => [balls.length > 1 ? `ball ${n + 1}` : "ball", ball.at, "ball centre"]);
    if (lesson.truth) places.push(["true lesion", lesson.truth, "lesion"]);
    if (lesson.peaks[lesson.guess]) places.push(["strongest belief", lesson.peaks[lesson.guess], "belief"]);
    bar.replaceChildren();
    bar.hidden = places.length < 2;
    bar.append("Go to:");
    for (const [label, voxel, name] of places) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => { go(lesson, voxel, name); refresh(lesson); });
      bar.append(button);
    }
  }

  function showGuess(key, guess) {
    for (const part of document.querySelectorAll(`.guess[data-class="${key}"]`)) part.hidden = part.dataset.guess !== guess;
  }

  function showClass(key) {
    for (const part of document.querySelectorAll("section.class")) part.hidden = part.dataset.class !== key;
  }

  function pick(key, guess) {
    const lesson = lessons[key];
    lesson.guess = guess;
    const balls = lesson.balls[guess];
    // where the eye should go first: the ball, but the belief itself where it lies outside the region
    const peak = lesson.peaks[guess];
    if (guess === "wrong_part" && peak) go(lesson, peak, "belief");
    else if (balls.length) go(lesson, balls[0].at, "ball centre");
    else go(lesson, lesson.focus, lesson.truth ? "lesion" : "middle");
    for (const bar of document.querySelectorAll(`.jump[data-class="${key}"]`)) jumps(lesson, bar);
    showGuess(key, guess);
    for (const button of document.querySelectorAll(`[data-pick][data-class="${key}"]`)) button.setAttribute("aria-selected", String(button.dataset.pick === guess));
    setView(lesson);
    refresh(lesson);
  }

  function choose(key) {
    showClass(key);
    for (const button of document.querySelectorAll(".classes [role=tab]")) button.setAttribute("aria-selected", String(button.dataset.class === key));
    refresh(lessons[key]);
  }

  function keys(buttons) {
    buttons.forEach((button, n) => button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const other = buttons[(n + step + buttons.length) % buttons.length];
      other.focus();
      other.click();
    }));
  }

  async function start() {
    // Unpacking takes a moment on a slow machine: until then one class and one guess, not all of them below each other.
    for (const key of Object.keys(data)) showGuess(key, Object.keys(data[key].guesses)[0]);
    showClass(Object.keys(data)[0]);
    for (const key of Object.keys(data)) {
      lessons[key] = await load(key);
      for (const holder of document.querySelectorAll(`.planes[data-class="${key}"]`)) build(lessons[key], holder);
      pick(key, lessons[key].guess);
    }
    for (const button of document.querySelectorAll("[data-pick]")) button.addEventListener("click", () => pick(button.dataset.class, button.dataset.pick));
    for (const button of document.querySelectorAll(".classes [role=tab]")) button.addEventListener("click", () => choose(button.dataset.class));
    for (const list of document.querySelectorAll("[role=tablist]")) keys([...list.querySelectorAll("button")]);
    choose(Object.keys(data)[0]);
    let last = document.documentElement.clientWidth;
    window.addEventListener("resize", () => {
      if (document.documentElement.clientWidth === last) return;
      last = document.documentElement.clientWidth;
      Object.values(lessons).forEach(refresh);
    });
    document.documentElement.dataset.ready = "yes";
  }
  start();
})();
