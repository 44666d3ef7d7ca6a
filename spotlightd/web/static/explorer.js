"use strict";
/* Replaces the server's drawings by ones that can be zoomed. Without it everything is still there. */
(() => {
  const shown = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

  const DAY = 86400;
  const EPOCH = 719163; /* 1970-01-01, counted from the year 1 */
  const iso = (at) => new Date(at * 1000).toISOString().slice(0, 10);
  const dated = (_, splits, axis, space, step) =>
    splits.map((at) => (step >= 365 * DAY ? iso(at).slice(0, 4) : step >= 28 * DAY ? iso(at).slice(0, 7) : iso(at).slice(5)));

  function bars(label, colour, fill) {
    return {
      label, value: (_, at) => (at == null ? "–" : whole.format(at)), stroke: shown(colour), fill: shown(fill), width: 1,
      points: { show: false }, paths: uPlot.paths.bars({ size: [0.7, 14] }),
    };
  }

  function drawn(figure, series, values, unit) {
    const box = figure.querySelector(".canvas");
    const times = series.days.map((day) => (day - EPOCH) * DAY);
    const axis = { stroke: shown("--ink-soft"), grid: { stroke: shown("--rule"), width: 1 }, ticks: { show: false } };
    const data = [times, values];
    const kinds = [bars(unit, "--accent", "--accent-soft")];
    if (series.corrected.length) {
      const marked = new Set(series.corrected);
      data.push(values.map((one, at) => (marked.has(at) ? one : null)));
      kinds.push(bars("corrected", "--amber", "--amber"));
    }
    const options = {
      width: box.clientWidth, height: 260, cursor: { y: false, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: {
        x: { range: (_, low, high) => [low - 0.8 * DAY, high + 0.8 * DAY] },
        y: { range: (_, low, high) => [0, (high || 1) * 1.05] },
      },
      axes: [{ ...axis, values: dated, space: 60 }, { ...axis, size: 56, values: (_, at) => at.map((one) => short.format(one)) }],
      series: [{ label: "day", value: (_, at) => (at == null ? "–" : iso(at)) }, ...kinds],
    };
    const held = document.createElement("div");
    const plot = new uPlot(options, data, held);
    held.setAttribute("aria-hidden", "true");
    box.append(held);
    box.querySelector("svg").classList.add("unseen");
    plot.over.addEventListener("click", () => {
      const at = plot.cursor.idx;
      if (at != null && plot.select.width < 3) location.assign(series.leads + iso(times[at]) + series.as_of);
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

  function gaps(series) {
    return (plot) => inside(plot, (pen, top, height) => {
      pen.fillStyle = shown("--amber-soft");
      for (const [since, until] of series.gaps) {
        const from = plot.valToPos(since, "x", true), to = plot.valToPos(until, "x", true);
        pen.fillRect(from, top, Math.max(to - from, 2 * devicePixelRatio), height);
      }
    });
  }

  function candles(series) {
    return (plot) => inside(plot, (pen) => {
      const wide = Math.min(Math.max(Math.abs(plot.valToPos(60, "x", true) - plot.valToPos(0, "x", true)) * 0.7, 1), 16 * devicePixelRatio);
      const colours = [shown("--red"), shown("--accent")];
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

  function traded(figure, series) {
    const box = figure.querySelector(".canvas");
    const axis = { stroke: shown("--ink-soft"), grid: { stroke: shown("--rule"), width: 1 }, ticks: { show: false } };
    const told = (name, form) => ({ label: name, scale: "y", width: 0, points: { show: false }, value: (_, at) => (at == null ? "–" : form.format(at)) });
    const spread = (low, high) => (high - low || Math.abs(high) || 1) / PRICE_PART;
    const options = {
      width: box.clientWidth, height: 340, cursor: { y: false, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      scales: {
        x: { range: (_, low, high) => [Math.max(low, series.since), Math.min(high, series.until)] },
        y: { range: (_, low, high) => (low == null ? [0, 1] : [high - spread(low, high), high + (high - low) * 0.04]) },
        sold: { range: (_, low, high) => [0, (high || 1) * 5.5] },
      },
      axes: [
        { ...axis, space: 64, values: (_, splits, at, space, step) => splits.map((one) => (one % DAY ? clock(one).slice(11) : iso(one).slice(5))) },
        { ...axis, size: (_, labels) => 16 + 7 * Math.max(6, ...(labels ?? []).map((one) => one.length)), values: (_, at) => at.map((one) => digits.format(one)) },
      ],
      series: [
        { label: "minute", value: (_, at) => (at == null ? "–" : clock(at)) },
        told("open", digits), told("high", digits), told("low", digits), told("close", digits),
        { label: "volume", scale: "sold", fill: shown("--accent-soft"), width: 0, points: { show: false },
          value: (_, at) => (at == null ? "–" : digits.format(at)), paths: uPlot.paths.bars({ size: [0.7, 16] }) },
        { ...told("trades", whole), scale: "count" },
      ],
      hooks: { drawClear: [gaps(series)], draw: [candles(series)] },
    };
    const held = document.createElement("div");
    held.setAttribute("aria-hidden", "true");
    box.append(held);
    const data = [series.minutes.map((minute) => minute + 30), series.open, series.high, series.low, series.close, series.volume, series.trades];
    const plot = new uPlot(options, data, held);
    plot.setScale("x", { min: series.since, max: series.until });
    box.querySelector("svg").classList.add("unseen");
    figure.querySelector(".step").textContent = "One minute a candle";
    plot.over.addEventListener("click", () => {
      const at = plot.cursor.idx;
      if (at != null && plot.select.width < 3) location.assign(series.leads + new Date(series.minutes[at] * 1000).toISOString());
    });
    new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 340 })).observe(box);
    figure.dataset.ready = "1";
  }

  for (const script of document.querySelectorAll("script.minutes")) {
    traded(script.parentElement.querySelector("figure"), JSON.parse(script.textContent));
  }
  for (const script of document.querySelectorAll("script.series")) {
    const series = JSON.parse(script.textContent);
    const part = script.parentElement;
    for (const figure of part.querySelectorAll("figure[data-chart]")) {
      drawn(figure, series, series[figure.dataset.chart], figure.dataset.chart === "worths" ? series.money : series.unit);
    }
  }
  document.documentElement.dataset.ready = "1";
})();
