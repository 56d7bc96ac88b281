(function () {
  "use strict";
  var PAGE = 25, PRINT_WIDTH = 690;
  var plots = read("plots"), pairs = read("pairs");
  var shown = {};  // plot id -> index of the figure that is shown
  var printing = false;
  var canDraw = false;  // once plotly is unpacked

  function at(id) { return document.getElementById(id); }
  function all(selector, root) { return Array.from((root || document).querySelectorAll(selector)); }
  function read(id) { return JSON.parse(at(id).textContent); }
  function wanted(id) { var field = at(id); return field ? field.value.trim().toLowerCase() : ""; }
  function has(text, part) { return text.toLowerCase().indexOf(part) >= 0; }
  function on(id, event, action) { if (at(id)) at(id).addEventListener(event, action); }
  function make(tag, text, name) {
    var node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }

  // Plots: the theme's colours, the chosen arms, the searched tasks.
  function chosenArms() {
    return new Set(all("#arms .pool input:checked").map(function (box) { return box.value; }));
  }

  function pick(values, kept) { return kept.map(function (index) { return values[index]; }); }

  function spreadForest(figure, arms) {
    // Only chosen comparisons and matching tasks, and these spread over the whole height.
    var part = wanted("task-search"), labels = figure.layout.yaxis.ticktext;
    var kept = labels.map(function (_, index) { return index; })
      .filter(function (index) { return has(labels[index].replace(/<\/?b>/g, ""), part); });
    var traces = figure.data.filter(function (trace) { return arms.has(trace.meta) && trace.error_x; });
    var top = kept.length - 1, gap = 0.7 / Math.max(traces.length, 1);
    traces.forEach(function (trace, number) {
      ["x", "text"].forEach(function (key) { trace[key] = pick(trace[key], kept); });
      ["array", "arrayminus"].forEach(function (key) { trace.error_x[key] = pick(trace.error_x[key], kept); });
      trace.marker.symbol = pick(trace.marker.symbol, kept);
      trace.y = kept.map(function (_, row) { return top - row + ((traces.length - 1) / 2 - number) * gap; });
    });
    figure.data = traces;
    var axis = figure.layout.yaxis;
    axis.ticktext = pick(labels, kept);
    axis.tickvals = kept.map(function (_, row) { return top - row; });
    axis.range = [-0.6, top + 0.6];
    figure.layout.shapes = figure.layout.shapes.slice(0, Math.ceil(kept.length / 2))
      .map(function (band, number) { return Object.assign({}, band, { y0: top - 2 * number - 0.5, y1: top - 2 * number + 0.5 }); });
    var pixels = Math.max(24, (kept.length * traces.length > 80 ? 9 : 15) * traces.length + 8);
    figure.layout.height = 86 + pixels * Math.max(kept.length, 2);
    figure.layout.showlegend = false;
  }

  function draw(id) {
    if (!canDraw) return;
    var figure = structuredClone(plots[id][shown[id] || 0][1]), layout = figure.layout;
    var style = getComputedStyle(document.documentElement);
    var colour = function (name) { return style.getPropertyValue(name).trim(); };
    var arms = chosenArms();
    layout.showlegend = id !== "map" && figure.data.length > 1;
    if (id === "forest") spreadForest(figure, arms);
    else if (at("arms")) {
      var control = at("arms").dataset.control;
      figure.data = figure.data.filter(function (trace) {
        return trace.meta === undefined || trace.meta === control || arms.has(trace.meta);
      });
    }
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: printing ? 10 : 13 };
    layout.margin = { l: 56, r: 20, t: 14, b: 56 };
    layout.legend = { orientation: "h", x: 0, y: 1, yanchor: "bottom" };
    layout.hoverlabel = { align: "left" };
    ["xaxis", "yaxis"].forEach(function (axis) {
      layout[axis].gridcolor = colour("--grid");
      layout[axis].zerolinecolor = id === "forest" ? colour("--soft") : colour("--grid");
      layout[axis].fixedrange = true;
      if (layout[axis].title) layout[axis].title.font = { size: layout.font.size };
    });
    if (printing) layout.width = at(id).parentElement.className === "pair" ? PRINT_WIDTH / 2 - 8 : PRINT_WIDTH;
    else layout.autosize = true;
    at(id).style.height = layout.height + "px";
    Plotly.react(id, figure.data, layout, { displayModeBar: false, responsive: !printing });
  }

  function drawAll() { Object.keys(plots).forEach(draw); }

  // Change by task: one choice of arms for every figure, a search and a verdict for the rows.
  function filterDeltas() {
    if (!at("arms")) return;
    var arms = chosenArms(), part = wanted("task-search"), verdict = at("verdict").value, count = 0;
    var rows = all("#delta-rows tbody tr");
    rows.forEach(function (row) {
      var data = row.dataset;
      row.hidden = !arms.has(data.arm) || !has(data.task, part) || (verdict !== "" && data.verdict !== verdict);
      count += row.hidden ? 0 : 1;
    });
    at("delta-count").textContent = count + " of " + rows.length + " rows";
    at("arms-shown").textContent = arms.size + " of " + all("#arms .pool input").length;
  }

  function armsChanged() {
    filterDeltas();
    Object.keys(plots).forEach(function (id) {
      if (plots[id].some(function (entry) { return entry[1].data.some(function (trace) { return trace.meta !== undefined; }); })) draw(id);
    });
  }

  // A search over the rows of a plain table.
  function filterRows(field) {
    var part = field.value.trim().toLowerCase(), count = 0, rows = all("tbody tr", at(field.dataset.rows));
    rows.forEach(function (row) {
      row.hidden = !has(row.textContent, part);
      count += row.hidden ? 0 : 1;
    });
    field.closest(".controls").querySelector("output").textContent = count + " of " + rows.length;
  }

  var mostItems = PAGE;

  function firstItems() { mostItems = PAGE; filterItems(); }

  function filterItems() {
    var list = all("#item-list > details"), part = wanted("item-search"), count = 0;
    if (!list.length) return;
    var fate = at("item-fate").value, task = at("item-task").value;
    list.forEach(function (item) {
      var match = (!fate || item.dataset.fate === fate) && (!task || item.dataset.task === task) && has(item.textContent, part);
      count += match ? 1 : 0;
      item.hidden = !match || count > mostItems;
    });
    at("item-count").textContent = count + " of " + list.length;
    at("item-more").hidden = count <= mostItems;
  }

  // Fixed and broken: rendered here, so that a page of many arms stays small; text is never markup.
  var most = PAGE;

  function showPair() {
    if (!pairs || !pairs.comparisons.length) return;
    var pair = pairs.comparisons[at("pair").value], body = at("pair-counts").tBodies[0];
    body.replaceChildren();
    at("pair-items").replaceChildren();
    at("pair-more").hidden = true;
    if (pair.gap) {
      at("pair-count").textContent = "No pairs here: " + pair.gap;
      return;
    }
    pair.counts.forEach(function (row) {
      var line = make("tr"), head = make("th", row.task);
      head.scope = "row";
      line.append(head, make("td", row.n.toLocaleString("en")),
        make("td", row.fixed, row.fixed ? "better" : ""), make("td", row.fixed_always),
        make("td", row.broken, row.broken ? "worse" : ""), make("td", row.broken_always),
        make("td", row.mixed), make("td", row.change));
      body.append(line);
    });
    var task = at("pair-task").value, kind = at("pair-kind").value, part = wanted("pair-search");
    var found = pair.items.filter(function (item) {
      var about = pairs.documents[item.document];
      return (!task || about.task === task) && (!kind || item.kind === kind) &&
        (!part || has(about.question + "\n" + about.answer + "\n" + about.task, part));
    });
    found.slice(0, most).forEach(function (item) { at("pair-items").append(card(pair, item)); });
    at("pair-count").textContent = found.length + " match, of " + pair.items.length + " kept on this page; " +
      pair.changed.toLocaleString("en") + " documents differ in all.";
    at("pair-more").hidden = found.length <= most;
  }

  function card(pair, item) {
    var about = pairs.documents[item.document], total = pair.seeds.length;
    var box = make("details"), head = make("summary", about.question.slice(0, 160) + " ");
    head.append(make("span", about.task, "tag"));
    if (item.fixed) head.append(make("span", "fixed in " + item.fixed + " of " + total, "tag better"));
    if (item.broken) head.append(make("span", "broken in " + item.broken + " of " + total, "tag worse"));
    box.append(head, make("pre", about.question));
    var answer = make("p", "Answer: ");
    answer.append(make("b", about.answer), make("span", "  document " + about.doc_id, "soft"));
    box.append(answer);
    var wide = make("div", undefined, "wide"), table = make("table"), top = make("tr"), body = make("tbody");
    ["seed", pair.against, pair.arm].forEach(function (name) {
      var cell = make("th", name, "left");
      cell.scope = "col";
      top.append(cell);
    });
    table.append(make("thead"), body);
    table.tHead.append(top);
    pair.seeds.forEach(function (seed, number) {
      var line = make("tr"), name = make("th", seed);
      name.scope = "row";
      line.append(name);
      [item.before, item.after].forEach(function (side) {
        var said = side[number], cell = make("td", said[0] || "(nothing)", "left");
        cell.style.whiteSpace = "normal";
        cell.append(make("small", "score " + said[1], said[1] > 0 ? "better" : "worse"));
        line.append(cell);
      });
      body.append(line);
    });
    wide.append(table);
    watchFrame(wide);
    box.append(wide);
    return box;
  }

  function newPair() {
    var chosen = at("pair-task").value, pair = pairs.comparisons[at("pair").value];
    at("pair-task").replaceChildren(new Option("all tasks", ""));
    (pair.counts || []).forEach(function (row) { at("pair-task").append(new Option(row.task, row.task)); });
    at("pair-task").value = (pair.counts || []).some(function (row) { return row.task === chosen; }) ? chosen : "";
    firstPage();
  }

  function firstPage() { most = PAGE; showPair(); }

  function later(action) {  // after the last key, not at every one
    var timer;
    return function () { clearTimeout(timer); timer = setTimeout(action, 120); };
  }

  all("select[data-plot]").forEach(function (field) {
    field.addEventListener("change", function () { shown[field.dataset.plot] = +field.value; draw(field.dataset.plot); });
  });
  all("input[data-rows]").forEach(function (field) { field.addEventListener("input", later(function () { filterRows(field); })); });
  all("#arms .pool input").forEach(function (box) { box.addEventListener("change", armsChanged); });
  all("button[data-arms]").forEach(function (button) {
    button.addEventListener("click", function () {
      all("#arms .pool label").forEach(function (label) {
        if (!label.hidden) label.querySelector("input").checked = button.dataset.arms === "all";
      });
      armsChanged();
    });
  });
  on("arm-search", "input", function () {
    var part = wanted("arm-search");
    all("#arms .pool label").forEach(function (label) { label.hidden = !has(label.textContent, part); });
  });
  on("task-search", "input", later(function () { filterDeltas(); if (plots.forest) draw("forest"); }));
  on("verdict", "change", filterDeltas);
  on("item-search", "input", later(firstItems));
  ["item-fate", "item-task"].forEach(function (id) { on(id, "change", firstItems); });
  on("item-more", "click", function () { mostItems += PAGE; filterItems(); });
  on("pair", "change", newPair);
  ["pair-task", "pair-kind"].forEach(function (id) { on(id, "change", firstPage); });
  on("pair-search", "input", later(firstPage));
  on("pair-more", "click", function () { most += PAGE; showPair(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", function () { printing = true; drawAll(); });
  addEventListener("afterprint", function () { printing = false; drawAll(); });

  // Plotly is packed, to keep the page small: unpacked here, from the page itself.
  async function unpack() {
    var bytes = Uint8Array.from(atob(at("plotly").textContent), function (c) { return c.charCodeAt(0); });
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    document.head.append(make("script", await new Response(stream).text()));
    canDraw = true;
    drawAll();
  }

  // A table that is wider or longer than its frame fades where it goes on.
  function fade(frame) {
    var right = frame.scrollWidth - frame.clientWidth - frame.scrollLeft > 2;
    var down = frame.scrollHeight - frame.clientHeight - frame.scrollTop > 2;
    frame.classList.toggle("more-right", right);
    frame.classList.toggle("more-down", down);
    if (frame.scrollWidth > frame.clientWidth + 2 || frame.scrollHeight > frame.clientHeight + 2) frame.tabIndex = 0;
    else frame.removeAttribute("tabindex");
  }
  var resized = new ResizeObserver(function (entries) {
    entries.forEach(function (entry) { fade(entry.target.closest(".wide")); });
  });
  function watchFrame(frame) {
    frame.addEventListener("scroll", function () { fade(frame); }, { passive: true });
    resized.observe(frame);
    resized.observe(frame.firstElementChild);
  }

  all(".wide").forEach(watchFrame);
  unpack().catch(function () {
    all(".plot").forEach(function (plot) {
      plot.textContent = "Figures need a browser of 2023 or later. The tables hold the same numbers.";
    });
  });
  filterDeltas();
  filterItems();
  if (pairs && pairs.comparisons.length) newPair();
})();
