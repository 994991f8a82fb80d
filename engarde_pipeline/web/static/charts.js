// Draws the charts, each from the JSON beside it, in the colours and dashes of its legend.
"use strict";

(() => {
  const DAY = 86400;
  const HEIGHT = 240;
  const PRINT_WIDTH = 900; // scaled to the paper by the style sheet, whatever the size of the window
  const HATCH = 6;

  const plots = new Map(); // the element of each chart: its plot, and the JSON that it shows
  let isPrinting = false;

  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  const exact = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const dayAndMonth = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

  const isoDate = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const unit = (kind) => (kind === "percent" ? "%" : "");
  const width = (element) => (isPrinting ? PRINT_WIDTH : element.clientWidth);

  function shown(value, kind) {
    return value === null ? "–" : (kind === "number" ? whole : exact).format(value) + unit(kind);
  }

  // Custom properties hold both colour schemes; the colour of an element is that of the current one.
  function colour(element, property = "color") {
    return element ? getComputedStyle(element)[property] : "transparent";
  }

  function shade(plot, from, to, paint) {
    const { left, top, width, height } = plot.bbox;
    const begin = Math.max(left, plot.valToPos(from - DAY / 2, "x", true));
    const end = Math.min(left + width, plot.valToPos(to - DAY / 2, "x", true));
    if (end > begin) {
      plot.ctx.save();
      plot.ctx.beginPath();
      plot.ctx.rect(begin, top, end - begin, height);
      plot.ctx.clip();
      paint(plot.ctx, begin, top, end - begin, height);
      plot.ctx.restore();
    }
  }

  function shadeDates(plot, data, legend) {
    const end = data.first + DAY * data.values[0].length;
    const provisional = legend.querySelector(".provisional");
    const partial = legend.querySelector(".partial");
    if (data.provisionalFrom !== null) {
      shade(plot, data.provisionalFrom, end, (context, ...box) => {
        context.fillStyle = colour(provisional, "backgroundColor");
        context.fillRect(...box);
      });
    }
    for (const date of data.partial) {
      shade(plot, date, date + DAY, (context, left, top, boxWidth, boxHeight) => {
        context.strokeStyle = colour(partial, "borderTopColor");
        context.lineWidth = 1;
        context.beginPath();
        for (let x = left - boxHeight; x < left + boxWidth; x += HATCH * devicePixelRatio) {
          context.moveTo(x, top + boxHeight);
          context.lineTo(x + boxHeight, top);
        }
        context.stroke();
      });
    }
  }

  function showValues(plot, data, legend) {
    const index = plot.cursor.idx;
    const isAtDate = index !== null && index !== undefined;
    legend.querySelectorAll(".value").forEach((element, number) => {
      element.textContent = isAtDate ? shown(data.values[number][index], data.kind) : "";
    });
    legend.querySelector(".at").textContent = isAtDate ? `on ${isoDate(data.first + DAY * index)}` : "";
  }

  // The dates between two gaps, which have no line.
  function lonely(values) {
    const isNumber = (index) => (values[index] ?? null) !== null;
    return [...values.keys()].filter((index) => isNumber(index) && !isNumber(index - 1) && !isNumber(index + 1));
  }

  function options(element, data, legend) {
    const text = colour(legend);
    const line = colour(element, "borderTopColor");
    return {
      width: width(element),
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: (_, first, last) => [first - DAY / 2, last + DAY / 2] },
        y: { range: (_, __, highest) => [0, highest > 0 ? 1.05 * highest : 1] },
      },
      axes: [
        {
          stroke: text,
          grid: { show: false },
          ticks: { stroke: line },
          size: 36,
          space: 60,
          incrs: [1, 2, 7, 14, 28, 91, 182, 364, 728].map((days) => days * DAY),
          values: (_, splits) => splits.map((seconds) => dayAndMonth.format(new Date(seconds * 1000))),
        },
        {
          stroke: text,
          grid: { stroke: line, width: 1 },
          ticks: { show: false },
          size: 60,
          values: (_, splits) => splits.map((value) => compact.format(value) + unit(data.kind)),
        },
      ],
      series: [
        {},
        ...[...legend.querySelectorAll("svg")].map((swatch) => ({
          stroke: colour(swatch),
          width: 2,
          points: { show: true, size: 6, filter: (plot, line) => lonely(plot.data[line]) },
          dash: swatch.firstElementChild.getAttribute("stroke-dasharray").split(" ").map(Number),
        })),
      ],
      hooks: {
        drawClear: [(plot) => shadeDates(plot, data, legend)],
        setCursor: [(plot) => showValues(plot, data, legend)],
      },
    };
  }

  const observer = new ResizeObserver((entries) => {
    // Not within the observer's callback, which a change of the size would call again.
    requestAnimationFrame(() => {
      for (const { target } of entries) {
        const plot = plots.get(target)?.plot;
        if (plot && target.clientWidth && plot.width !== width(target)) {
          plot.setSize({ width: width(target), height: HEIGHT });
        }
      }
    });
  });

  function remove(element) {
    plots.get(element)?.plot.destroy();
    plots.delete(element);
  }

  function draw(element, isForced) {
    const text = document.getElementById(element.id.replace(/-lines$/, "-data")).textContent;
    if (plots.get(element)?.text === text && !isForced) {
      return;
    }
    remove(element);
    const data = JSON.parse(text);
    const legend = element.nextElementSibling;
    element.hidden = legend.hidden = false;
    if (!data.values.length) {
      return;
    }
    const dates = data.values[0].map((_, number) => data.first + DAY * number);
    plots.set(element, { text, plot: new uPlot(options(element, data, legend), [dates, ...data.values], element) });
    observer.observe(element);
  }

  function drawAll(isForced) {
    for (const element of [...plots.keys()].filter((each) => !each.isConnected)) {
      observer.unobserve(element);
      remove(element);
    }
    document.querySelectorAll(".chart").forEach((element) => draw(element, isForced));
  }

  function print(isBeginning) {
    isPrinting = isBeginning;
    document.documentElement.classList.toggle("is-printing", isBeginning);
    drawAll(true);
  }

  drawAll(false);
  document.body.addEventListener("htmx:afterSwap", () => drawAll(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
  matchMedia("print").addEventListener("change", () => drawAll(true));
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
})();
