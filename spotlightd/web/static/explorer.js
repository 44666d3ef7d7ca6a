"use strict";
/* Replaces the server's drawings with charts that can be zoomed. Without script the drawings stay. */
(() => {
  const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

  const DAY = 86400;
  const DAYS = [1, 2, 5, 10, 30, 60, 90, 180, 365, 730, 1825].map((days) => days * DAY); /* between two labels */
  const EPOCH = 719163; /* 1970-01-01, counted from the year 1 */
  const isoDay = (time) => new Date(time * 1000).toISOString().slice(0, 10);
  const dated = (_, splits, axis, space, step) =>
    splits.map((at) => (step >= 365 * DAY ? isoDay(at).slice(0, 4) : step >= 28 * DAY ? isoDay(at).slice(0, 7) : isoDay(at).slice(5)));

  function bars(label, colour, fill, describe) {
    return {
      label, value: (_, at, series, place) => (at == null ? "–" : whole.format(at) + describe(place)), stroke: cssColour(colour), fill: cssColour(fill), width: 1,
      points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 14] }),
    };
  }

  /* Each day with its entries, the largest first: on the day of a merger two securities have one symbol. */
  function groupByDay(days, values) {
    const groups = new Map();
    days.forEach((day, index) => groups.set(day, [...(groups.get(day) ?? []), index]));
    return [...groups].map(([day, entries]) => ({ day, entries: entries.sort((one, other) => (values[other] ?? -1) - (values[one] ?? -1)) }));
  }

  function drawDays(figure, series, values, unit) {
    const box = figure.querySelector(".canvas");
    const groups = groupByDay(series.days, values);
    const times = groups.map((group) => (group.day - EPOCH) * DAY);
    const axis = { stroke: cssColour("--ink-soft"), grid: { stroke: cssColour("--rule"), width: 1 }, ticks: { show: false } };
    const data = [times], kinds = [];
    const marked = new Set(series.corrected);
    const depth = groups.reduce((most, group) => Math.max(most, group.entries.length), 1);
    for (let layer = 0; layer < depth; layer += 1) { /* a smaller bar stands in front of a larger one */
      const indexes = groups.map((group) => group.entries[layer]);
      const describe = (place) => (series.shared[indexes[place]] ? `, ${series.apart} ${series.shared[indexes[place]]}` : "");
      data.push(indexes.map((index) => values[index] ?? null));
      kinds.push(layer ? bars("same day", "--ink", "--ink-soft", describe) : bars(unit, "--accent", "--accent-soft", describe));
      if (indexes.some((index) => marked.has(index))) {
        data.push(indexes.map((index) => (marked.has(index) ? values[index] : null)));
        kinds.push(bars("corrected", "--amber", "--amber", describe));
      }
    }
    const options = {
      width: box.clientWidth, height: 260, cursor: { y: false, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: {
        x: { range: (_, low, high) => (times.length > 1 ? [low - 0.8 * DAY, high + 0.8 * DAY] : [times[0] - 5 * DAY, times[0] + 5 * DAY]) },
        y: { range: (_, low, high) => [0, (high || 1) * 1.05] },
      },
      axes: [{ ...axis, values: dated, space: 60, incrs: DAYS }, { ...axis, size: 56, values: (_, amounts) => amounts.map((value) => short.format(value)) }],
      series: [{ label: "day", value: (_, at) => (at == null ? "–" : isoDay(at)) }, ...kinds],
    };
    const holder = document.createElement("div");
    const plot = new uPlot(options, data, holder);
    holder.setAttribute("aria-hidden", "true");
    box.append(holder);
    box.querySelector("svg").classList.add("unseen");
    plot.over.addEventListener("click", () => {
      const at = plot.cursor.idx;
      if (at != null && plot.select.width < 3) location.assign(series.address + isoDay(times[at]) + series.as_of);
    });
    new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 260 })).observe(box);
    figure.dataset.ready = "1";
  }

  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 12 });
  const clock = (at) => new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ");
  const PRICE_PART = 0.78; /* of the height; below it the volume */

  function inside(plot, paint) {
    const { left, top, width, height } = plot.bbox, pen = plot.ctx;
    pen.save();
    pen.beginPath();
    pen.rect(left, top, width, height);
    pen.clip();
    paint(pen, top, height);
    pen.restore();
  }

  function drawGaps(series) {
    return (plot) => inside(plot, (pen, top, height) => {
      pen.fillStyle = cssColour("--amber-soft");
      for (const [since, until] of series.gaps) {
        const from = plot.valToPos(since, "x", true), to = plot.valToPos(until, "x", true);
        pen.fillRect(from, top, Math.max(to - from, 2 * devicePixelRatio), height);
      }
    });
  }

  function drawCandles(series) {
    return (plot) => inside(plot, (pen) => {
      const wide = Math.min(Math.max(Math.abs(plot.valToPos(60, "x", true) - plot.valToPos(0, "x", true)) * 0.7, 1), 16 * devicePixelRatio);
      const colours = [cssColour("--red"), cssColour("--accent")];
      const at = (price) => plot.valToPos(price, "y", true);
      for (const [index, minute] of series.minutes.entries()) {
        const open = at(series.open[index]), close = at(series.close[index]), middle = plot.valToPos(minute + 30, "x", true);
        pen.fillStyle = colours[series.close[index] >= series.open[index] ? 1 : 0];
        const high = at(series.high[index]), line = Math.max(Math.min(wide / 4, devicePixelRatio), 0.6);
        pen.fillRect(middle - line / 2, high, line, Math.max(at(series.low[index]) - high, 1));
        pen.fillRect(middle - wide / 2, Math.min(open, close), wide, Math.max(Math.abs(open - close), 1));
      }
    });
  }

  function drawMinutes(figure, series) {
    const box = figure.querySelector(".canvas");
    const axis = { stroke: cssColour("--ink-soft"), grid: { stroke: cssColour("--rule"), width: 1 }, ticks: { show: false } };
    const line = (name, form) => ({ label: name, scale: "y", width: 0, points: { show: false }, value: (_, at) => (at == null ? "–" : form.format(at)) });
    const spread = (low, high) => (high - low || Math.abs(high) || 1) / PRICE_PART;
    const options = {
      width: box.clientWidth, height: 340, cursor: { y: false, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: {
        x: { range: (_, low, high) => [Math.max(low, series.since), Math.min(high, series.until)] },
        y: { range: (_, low, high) => (low == null ? [0, 1] : [high - spread(low, high), high + (high - low) * 0.04]) },
        volume: { range: (_, low, high) => [0, (high || 1) * 5.5] },
      },
      axes: [
        { ...axis, space: 64, values: (_, splits, at, space, step) => splits.map((time) => (time % DAY ? clock(time).slice(11) : isoDay(time).slice(5))) },
        { ...axis, size: (_, labels) => 16 + 7 * Math.max(6, ...(labels ?? []).map((label) => label.length)), values: (_, prices) => prices.map((price) => digits.format(price)) },
      ],
      series: [
        { label: "minute", value: (_, at) => (at == null ? "–" : clock(at)) },
        line("open", digits), line("high", digits), line("low", digits), line("close", digits),
        { label: "volume", scale: "volume", fill: cssColour("--accent-soft"), width: 0, points: { show: false },
          value: (_, at) => (at == null ? "–" : digits.format(at)), paths: uPlot.paths.bars({ size: [0.7, 16] }) },
        { ...line("trades", whole), scale: "count" },
      ],
      hooks: { drawClear: [drawGaps(series)], draw: [drawCandles(series)] },
    };
    const holder = document.createElement("div");
    holder.setAttribute("aria-hidden", "true");
    box.append(holder);
    const data = [series.minutes.map((minute) => minute + 30), series.open, series.high, series.low, series.close, series.volume, series.trades];
    const plot = new uPlot(options, data, holder);
    plot.setScale("x", { min: series.since, max: series.until });
    box.querySelector("svg").classList.add("unseen");
    figure.querySelector(".step").textContent = "One minute per candle";
    plot.over.addEventListener("click", () => {
      const at = plot.cursor.idx;
      if (at != null && plot.select.width < 3) location.assign(series.address + new Date(series.minutes[at] * 1000).toISOString());
    });
    new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 340 })).observe(box);
    figure.dataset.ready = "1";
  }

  for (const script of document.querySelectorAll("script.minutes")) {
    drawMinutes(script.parentElement.querySelector("figure"), JSON.parse(script.textContent));
  }
  for (const script of document.querySelectorAll("script.series")) {
    const series = JSON.parse(script.textContent);
    const part = script.parentElement;
    for (const figure of part.querySelectorAll("figure[data-chart]")) {
      drawDays(figure, series, series[figure.dataset.chart], figure.dataset.chart === "worths" ? series.price_unit : series.unit);
    }
  }
  document.documentElement.dataset.ready = "1";
})();
