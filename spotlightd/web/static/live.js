"use strict";
/* Updates the page with the bars, values, gaps and feeds that the server sends. Without script the page reloads. */
(() => {
  const WINDOW = 120;
  const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
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
    const node = document.createElement(kind);
    node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  /* Gaps are drawn first, so that bars are on top of them. */
  function drawGaps(panel) {
    return (plot) => {
      const { left, top, width, height } = plot.bbox, pen = plot.ctx;
      let count = 0;
      pen.save();
      for (const [since, until] of panel.spans) {
        const from = Math.max(plot.valToPos(since, "x", true), left);
        const to = Math.min(plot.valToPos(until ?? now, "x", true), left + width);
        if (to <= left || from >= left + width) continue;
        pen.fillStyle = cssColour("--amber-soft");
        pen.fillRect(from, top, Math.max(to - from, 2), height);
        pen.fillStyle = cssColour("--amber");
        if (to - from > 30 * devicePixelRatio) pen.fillText("gap", from + 4 * devicePixelRatio, top - 4 * devicePixelRatio);
        count += 1;
      }
      pen.restore();
      panel.figure.dataset.gaps = count;
    };
  }

  function drawSticks(panel) {
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
        pen.strokeStyle = cssColour(close >= open ? "--accent" : "--red");
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

  /* Room for the longest label; uPlot calls it again when it knows the labels. */
  const labelWidth = (_, labels) => 16 + 7 * Math.max(4, ...(labels ?? []).map((label) => String(label).length));

  function createPlot(panel) {
    const box = panel.figure.querySelector(".canvas");
    const axis = { stroke: cssColour("--ink-soft"), grid: { stroke: cssColour("--rule"), width: 1 }, ticks: { show: false } };
    const hidden = { points: { show: false }, width: 0 };
    const spread = (low, high) => (high > low ? (high - low) * 0.08 : Math.abs(high || 1) * 0.001);
    const options = {
      width: box.clientWidth, height: 190, padding: [18, 0, 0, 6], legend: { show: false }, cursor: { show: false },
      scales: {
        x: { time: true, range: () => [now - WINDOW, now] },
        y: { range: (_, low, high) => (low == null ? [0, 1] : [low - spread(low, high) * 3, high + spread(low, high)]) },
        volume: { range: (_, low, high) => [0, (high || 1) * 5] },
      },
      axes: [
        { ...axis, space: 70, size: 28, values: (_, times) => times.map((time) => (time === Math.round(now) ? "now" : new Date(time * 1000).toISOString().slice(11, 19))) },
        { ...axis, side: 1, size: labelWidth, values: (_, prices) => prices.map((price) => amount.format(price)) },
      ],
      series: [
        {}, { ...hidden, scale: "y" }, { ...hidden, scale: "y" },
        { scale: "volume", fill: cssColour("--accent-soft"), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 6] }) },
      ],
      hooks: { drawClear: [drawGaps(panel)], draw: [drawSticks(panel)] },
    };
    const holder = document.createElement("div");
    holder.setAttribute("aria-hidden", "true");
    box.append(holder);
    box.querySelector("svg").classList.add("unseen");
    panel.plot = new uPlot(options, columns(panel), holder);
    new ResizeObserver(() => panel.plot.setSize({ width: box.clientWidth, height: 190 })).observe(box);
  }

  function columns(panel) {
    const rows = [...panel.bars.values()].sort((left, right) => left[0] - right[0]);
    return [rows.map((row) => row[0] + 0.5), rows.map((row) => row[3]), rows.map((row) => row[2]), rows.map((row) => row[5])];
  }

  function showValues(message) {
    for (const [symbol, price, volume, rate, seconds] of message.values) {
      const texts = { price: price == null ? "–" : number.format(price), volume: amount.format(volume), rate: rate.toFixed(2), age: age(seconds) };
      for (const place of document.querySelectorAll(`[data-symbol="${CSS.escape(symbol)}"], [data-live="${CSS.escape(symbol)}"]`)) {
        for (const cell of place.querySelectorAll("[data-cell]")) cell.textContent = texts[cell.dataset.cell];
      }
    }
  }

  function showGaps(message) {
    const lines = message.gaps.map(([since, until, source, symbol, cause, detail, seconds]) => {
      const line = document.createElement("li");
      line.append(element("mark", cause, `tag ${until ? "amber" : "red"}`));
      line.append(` ${source}${symbol ? `, ${symbol}` : ""}: ${since} to ${until ? `${until} (${age(seconds)})` : "now"}${detail ? `. ${detail}` : ""}`);
      return line;
    });
    part("gaps").replaceChildren(...(lines.length ? lines : [element("li", "None.")]));
  }

  /* Cell by cell, so that scroll positions and focus stay. The server rendered and escaped the HTML, as for the page. */
  function showFeeds(message) {
    if (!message.state) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = message.state;
    const [old, cells] = [part("state"), fresh.content].map((node) => [...node.querySelectorAll("th, td, p")]);
    if (old.length !== cells.length) part("state").replaceChildren(fresh.content);
    else cells.forEach((cell, index) => { if (old[index].innerHTML !== cell.innerHTML) old[index].innerHTML = cell.innerHTML; });
  }

  function show(message, isUpdate) {
    now = message.at;
    for (const [symbol, panel] of panels) {
      if (!isUpdate) panel.bars.clear();
      for (const bar of message.bars[symbol] ?? []) panel.bars.set(bar[0], bar);
      for (const second of panel.bars.keys()) if (second < now - WINDOW) panel.bars.delete(second);
      panel.spans = message.spans[symbol] ?? [];
      panel.plot.setData(columns(panel));
    }
    showValues(message);
    showGaps(message);
    showFeeds(message);
    part("error").textContent = message.error;
  }

  function showConnection(text, tag) {
    part("connection").textContent = text;
    part("connection").className = `tag ${tag}`;
    document.documentElement.dataset.live = tag;
  }

  function listen() {
    const source = new EventSource(`/live/events?symbols=${encodeURIComponent(symbols.join(","))}`);
    for (const kind of ["window", "update"]) {
      source.addEventListener(kind, (event) => {
        show(JSON.parse(event.data), kind === "update");
        showConnection("live", "green");
      });
    }
    source.addEventListener("error", () => {
      showConnection(source.readyState === EventSource.CLOSED ? "not connected: next try in 30 seconds" : "connection lost: reconnecting", "red");
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 30000);
    });
  }

  for (const figure of document.querySelectorAll("figure[data-live]")) {
    const symbol = figure.dataset.live;
    const panel = { figure, spans: first.spans[symbol] ?? [], bars: new Map((first.bars[symbol] ?? []).map((bar) => [bar[0], bar])) };
    createPlot(panel);
    panels.set(symbol, panel);
  }
  showConnection("connecting", "");
  listen();
  document.documentElement.dataset.ready = "1";
})();
