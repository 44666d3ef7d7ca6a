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

  for (const script of document.querySelectorAll("script.series")) {
    const series = JSON.parse(script.textContent);
    const part = script.parentElement;
    for (const figure of part.querySelectorAll("figure[data-chart]")) {
      drawn(figure, series, series[figure.dataset.chart], figure.dataset.chart === "worths" ? series.money : series.unit);
    }
  }
  document.documentElement.dataset.ready = "1";
})();
