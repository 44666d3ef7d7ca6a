"use strict";
/* Moves the page: bars, values, gaps and feeds as the server tells them. Without it the page loads itself again. */
(() => {
  const WINDOW = 120;
  const shown = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 15 });
  const amount = new Intl.NumberFormat("en", { maximumSignificantDigits: 8 });
  const part = (name) => document.querySelector(`[data-part=${name}]`);
  const first = JSON.parse(document.getElementById("live-data").textContent);
  const symbols = first.values.map((row) => row[0]);
  const panels = new Map();
  let now = first.at;

  function age(seconds) {
    if (seconds == null) return "–";
    if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
    const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
    if (hours >= 48) return `${Math.floor(hours / 24)} days`;
    return hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
  }

  function element(kind, text, name) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (name) made.className = name;
    return made;
  }

  /* Shaded first, so that bars stand on it. */
  function shade(panel) {
    return (plot) => {
      const { left, top, width, height } = plot.bbox, pen = plot.ctx;
      let count = 0;
      pen.save();
      for (const [since, until] of panel.spans) {
        const from = Math.max(plot.valToPos(since, "x", true), left);
        const to = Math.min(plot.valToPos(until ?? now, "x", true), left + width);
        if (to <= left || from >= left + width) continue;
        pen.fillStyle = shown("--amber-soft");
        pen.fillRect(from, top, Math.max(to - from, 2), height);
        pen.fillStyle = shown("--amber");
        if (to - from > 30 * devicePixelRatio) pen.fillText("gap", from + 4 * devicePixelRatio, top - 4 * devicePixelRatio);
        count += 1;
      }
      pen.restore();
      panel.figure.dataset.gaps = count;
    };
  }

  function sticks(panel) {
    return (plot) => {
      const pen = plot.ctx, ratio = devicePixelRatio;
      const half = Math.max((plot.bbox.width / WINDOW) * 0.4, 1);
      pen.save();
      pen.beginPath();
      pen.rect(plot.bbox.left, plot.bbox.top, plot.bbox.width, plot.bbox.height);
      pen.clip();
      for (const [second, open, high, low, close] of panel.bars.values()) {
        const x = plot.valToPos(second + 0.5, "x", true);
        const at = (price) => plot.valToPos(price, "y", true);
        pen.strokeStyle = shown(close >= open ? "--accent" : "--red");
        pen.lineWidth = Math.max(ratio, 1);
        pen.beginPath();
        pen.moveTo(x, at(high)); pen.lineTo(x, at(low));
        pen.moveTo(x - half, at(open)); pen.lineTo(x, at(open));
        pen.moveTo(x, at(close)); pen.lineTo(x + half, at(close));
        pen.stroke();
      }
      pen.restore();
    };
  }

  /* Room for the longest label; uPlot asks a second time when it knows them. */
  const wide = (_, labels) => 16 + 7 * Math.max(4, ...(labels ?? []).map((one) => String(one).length));

  function plotted(panel) {
    const box = panel.figure.querySelector(".canvas");
    const axis = { stroke: shown("--ink-soft"), grid: { stroke: shown("--rule"), width: 1 }, ticks: { show: false } };
    const hidden = { points: { show: false }, width: 0 };
    const spread = (low, high) => (high > low ? (high - low) * 0.08 : Math.abs(high || 1) * 0.001);
    const options = {
      width: box.clientWidth, height: 190, padding: [18, 0, 0, 6], legend: { show: false }, cursor: { show: false },
      scales: {
        x: { time: true, range: () => [now - WINDOW, now] },
        y: { range: (_, low, high) => (low == null ? [0, 1] : [low - spread(low, high) * 3, high + spread(low, high)]) },
        sold: { range: (_, low, high) => [0, (high || 1) * 5] },
      },
      axes: [
        { ...axis, space: 70, size: 28, values: (_, at) => at.map((one) => (one === Math.round(now) ? "now" : new Date(one * 1000).toISOString().slice(11, 19))) },
        { ...axis, side: 1, size: wide, values: (_, at) => at.map((one) => amount.format(one)) },
      ],
      series: [
        {}, { ...hidden, scale: "y" }, { ...hidden, scale: "y" },
        { scale: "sold", fill: shown("--accent-soft"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 6] }) },
      ],
      hooks: { drawClear: [shade(panel)], draw: [sticks(panel)] },
    };
    const held = document.createElement("div");
    held.setAttribute("aria-hidden", "true");
    box.append(held);
    box.querySelector("svg").classList.add("unseen");
    panel.plot = new uPlot(options, columns(panel), held);
    new ResizeObserver(() => panel.plot.setSize({ width: box.clientWidth, height: 190 })).observe(box);
  }

  function columns(panel) {
    const rows = [...panel.bars.values()].sort((one, other) => one[0] - other[0]);
    return [rows.map((row) => row[0] + 0.5), rows.map((row) => row[3]), rows.map((row) => row[2]), rows.map((row) => row[5])];
  }

  function values(told) {
    for (const [symbol, price, volume, rate, seconds] of told.values) {
      const texts = { price: price == null ? "–" : number.format(price), volume: amount.format(volume), rate: rate.toFixed(2), age: age(seconds) };
      for (const place of document.querySelectorAll(`[data-symbol="${CSS.escape(symbol)}"], [data-live="${CSS.escape(symbol)}"]`)) {
        for (const cell of place.querySelectorAll("[data-cell]")) cell.textContent = texts[cell.dataset.cell];
      }
    }
  }

  function gaps(told) {
    const lines = told.gaps.map(([since, until, source, symbol, cause, says]) => {
      const line = document.createElement("li");
      line.append(element("mark", cause, `tag ${until ? "amber" : "red"}`));
      line.append(` ${source}${symbol ? `, ${symbol}` : ""}: ${since} to ${until || "now"}${says ? `. ${says}` : ""}`);
      return line;
    });
    part("gaps").replaceChildren(...(lines.length ? lines : [element("li", "None.")]));
  }

  /* Cell by cell, so that what is scrolled or focused stays so. The server has written and escaped it, as on the page. */
  function feeds(told) {
    if (!told.state) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = told.state;
    const [old, cells] = [part("state"), fresh.content].map((one) => [...one.querySelectorAll("th, td, p")]);
    if (old.length !== cells.length) part("state").replaceChildren(fresh.content);
    else cells.forEach((cell, at) => { if (old[at].innerHTML !== cell.innerHTML) old[at].innerHTML = cell.innerHTML; });
  }

  function taken(told, whole) {
    now = told.at;
    for (const [symbol, panel] of panels) {
      if (whole) panel.bars.clear();
      for (const bar of told.bars[symbol] ?? []) panel.bars.set(bar[0], bar);
      for (const second of panel.bars.keys()) if (second < now - WINDOW) panel.bars.delete(second);
      panel.spans = told.spans[symbol] ?? [];
      panel.plot.setData(columns(panel));
    }
    values(told);
    gaps(told);
    feeds(told);
    part("trouble").textContent = told.trouble;
  }

  function connection(says, tag) {
    part("connection").textContent = says;
    part("connection").className = `tag ${tag}`;
    document.documentElement.dataset.live = tag;
  }

  function listened() {
    const source = new EventSource(`/live/events?symbols=${encodeURIComponent(symbols.join(","))}`);
    for (const kind of ["whole", "moves"]) {
      source.addEventListener(kind, (event) => {
        taken(JSON.parse(event.data), kind === "whole");
        connection("moving", "green");
      });
    }
    source.addEventListener("error", () => {
      connection(source.readyState === EventSource.CLOSED ? "not moving: tried again in half a minute" : "connection lost: trying again", "red");
      if (source.readyState === EventSource.CLOSED) setTimeout(listened, 30000);
    });
  }

  for (const figure of document.querySelectorAll("figure[data-live]")) {
    const symbol = figure.dataset.live;
    const panel = { figure, spans: first.spans[symbol] ?? [], bars: new Map((first.bars[symbol] ?? []).map((bar) => [bar[0], bar])) };
    plotted(panel);
    panels.set(symbol, panel);
  }
  connection("connecting", "");
  listened();
  document.documentElement.dataset.ready = "1";
})();
