"use strict";
// The browser of responses. All texts are data of models: they enter the page as text nodes, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const holder = $("data");
  const data = JSON.parse(holder.textContent); // described in sami/analysis/report/browser.py
  holder.remove();

  const PAGE = 50; // cases in the list at once
  const COMPARABLE = 4e6; // the largest product of two lengths in words that are compared word by word
  const OUTCOMES = ["won", "lost", "tied", "invalid"]; // by position, as choices are in the data
  const MARKS = ["▲", "▼", "=", "×"];
  const ORDERS = ["The policy's response first", "The comparator's response first"];
  const FLIPS = {
    change: ["outcome changes", (before, after) => before !== after],
    better: ["lost, then won", (before, after) => before === "1" && after === "0"],
    worse: ["won, then lost", (before, after) => before === "0" && after === "1"],
  };
  const { policies, judges, texts, queries, constitutions, responses, cases, comparisons } = data;
  const TEXT = 0, TOKENS = 1, WORDS = 2, CUT = 3, DEGENERATE = 4; // of a response
  const QUERY = 0, CONSTITUTION = 1, NUMBER = 2, RESPONSES = 3, DEGREES = 4, MEASURES = 5; // of a case
  const IDENTIFIED = 0, MARGIN = 1, ECHO = 2, ABOUT = 3; // of the measures of a response
  const RELEVANCE = { // filters by the relevance of a response, given its measures and those of the base model's
    identified: ["identified", (of) => of[IDENTIFIED] === 1],
    unidentified: ["not identified", (of) => of[IDENTIFIED] === 0],
    narrow: ["margin below 0.5", (of) => (of[MARGIN] ?? Infinity) < 0.5],
    lower: ["margin below the base model's", (of, base) => (of[MARGIN] ?? Infinity) < (base[MARGIN] ?? -Infinity)],
  };
  const ECHOES = {
    some: ["10% or more", (of) => of[ECHO] >= 0.1],
    much: ["25% or more", (of) => of[ECHO] >= 0.25],
    most: ["50% or more", (of) => of[ECHO] >= 0.5],
  };
  const ORDER = 0, CHOICE = 1, PREFERENCE = 2, WORDING = 3; // of an answer

  const unique = (values) => [...new Set(values)];
  const everyPolicy = policies.map((_, policy) => policy);
  const comparators = unique(comparisons.map((comparison) => comparison.comparator));
  const byPolicy = [...comparisons].sort((a, b) => a.policy - b.policy);
  const iterations = everyPolicy
    .filter((policy) => /^iteration-\d+$/.test(policies[policy]))
    .sort((a, b) => policies[a].slice(10) - policies[b].slice(10));
  const principles = unique(constitutions.flatMap(([, statements]) => statements.map(([name]) => name)));

  const nameOf = (policy) => (policy === data.base ? "base model" : policies[policy].replace(/^iteration-/, "iteration "));
  const textOf = (response) => texts[responses[response][TEXT]];
  const answerTo = (number, policy) => responses[cases[number][RESPONSES][policy]]; // undefined where there is none
  const measuresOf = (number, policy) => cases[number][MEASURES][policy]; // null where there is no response
  const judgedOn = (comparison, number) => comparison.choices[number] !== "-";
  const nameOfCase = (number) => [queries[cases[number][QUERY]][0], constitutions[cases[number][CONSTITUTION]][0]];
  // Whether a query has several responses under one constitution, so that their number tells them apart.
  const numbered = unique(cases.map((_, number) => nameOfCase(number).join("\n"))).length < cases.length;
  const previousOf = (policy) => iterations[iterations.indexOf(policy) - 1];

  // A verdict is inconsistent where the judge, shown the responses in the other order, does not say the same.
  const inconsistent = (answers) => {
    const valid = answers.filter((answer) => answer[CHOICE] !== 3);
    return [ORDER, CHOICE].every((field) => unique(valid.map((answer) => answer[field])).length > 1);
  };
  for (const comparison of comparisons) comparison.inconsistent = comparison.answers.map(inconsistent);

  // --- state: the controls by name, and the case shown ---------------------------------------------------------------

  const controls = $("controls").elements;
  const START = {
    search: "", sort: "", against: "base", removed: "", policy: "", judge: judges[0] ?? "",
    comparator: comparators.length ? policies[comparators[0]] : "", outcome: "", flips: "", principle: "", polarity: "",
    relevance: "", echo: "", about: "", degenerate: "", longest: "", inconsistent: "", disagreement: "",
  };
  const FILTERS = ["search", "policy", "outcome", "flips", "principle", "polarity", "relevance", "echo", "about", "degenerate", "longest",
    "inconsistent", "disagreement"];
  let state = { ...START };
  let shown = []; // numbers of the cases that pass the filters, sorted
  let current = 0; // number of the case shown, -1 for none

  const parameters = () => {
    const link = new URLSearchParams();
    if (current >= 0) {
      const [query, constitution] = nameOfCase(current);
      link.set("query", query);
      link.set("constitution", constitution);
      if (numbered) link.set("number", cases[current][NUMBER]);
    }
    for (const name in START) if (state[name] !== START[name]) link.set(name, state[name] || "none");
    return link;
  };
  const address = () => `${location.href.split("#")[0]}#${parameters()}`;

  let waiting;
  const writeLink = () => {
    clearTimeout(waiting); // browsers allow few changes of the address a second
    waiting = setTimeout(() => {
      try {
        history.replaceState(null, "", `#${parameters()}`);
      } catch { /* a page inside a page may have no address of its own */ }
    }, 250);
  };

  // Takes case and filters from the address; false where it names none.
  const readLink = () => {
    if (!location.hash.includes("=")) return false;
    const link = new URLSearchParams(location.hash.slice(1));
    state = { ...START };
    for (const name in START) {
      const value = link.get(name) === "none" ? "" : link.get(name);
      const options = controls[name]?.options;
      if (value !== null && (!options || [...options].some((option) => option.value === value))) state[name] = value;
    }
    const found = cases.findIndex((entry, number) => {
      const [query, constitution] = nameOfCase(number);
      const same = query === link.get("query") && constitution === link.get("constitution");
      return same && (!link.has("number") || String(entry[NUMBER]) === link.get("number"));
    });
    if (link.has("query") && found < 0) say("The case of this link is not on this page.");
    current = Math.max(found, 0);
    showState();
    return true;
  };

  const showState = () => {
    for (const name in START) {
      const control = controls[name];
      if (control.type === "checkbox") control.checked = state[name] !== "";
      else control.value = state[name];
    }
  };

  // --- filters ------------------------------------------------------------------------------------------------------

  const selection = () => {
    const [policy, judge, comparator] = [policies.indexOf(state.policy), judges.indexOf(state.judge), policies.indexOf(state.comparator)];
    const chosen = policy < 0 ? everyPolicy : [policy];
    const against = comparisons.filter((comparison) => comparison.comparator === comparator);
    const judged = against.filter((comparison) => comparison.judge === judge);
    const of = new Map(judged.map((comparison) => [comparison.policy, comparison]));
    const course = iterations.filter((t) => of.has(t));
    return {
      policies: chosen,
      comparator,
      of,
      verdicts: chosen.filter((p) => of.has(p)).map((p) => of.get(p)),
      steps: course.slice(1).map((t, i) => [of.get(course[i]), of.get(t)]).filter(([, later]) => chosen.includes(later.policy)),
      others: chosen.map((p) => against.filter((comparison) => comparison.policy === p)), // all judges
      longest: longestTenth(chosen),
    };
  };

  const wordsOf = (number, chosen) => chosen.flatMap((policy) => answerTo(number, policy)?.[WORDS] ?? []);
  const longestTenth = (chosen) => {
    const lengths = cases.flatMap((_, number) => wordsOf(number, chosen)).sort((a, b) => a - b);
    return lengths[Math.floor(0.9 * lengths.length)];
  };
  const some = (number, chosen, test) => chosen.policies.some((policy) => answerTo(number, policy) && test(answerTo(number, policy)));
  const measured = (number, chosen) => chosen.map((policy) => measuresOf(number, policy)).filter((of) => of !== null);
  const states = (number, principle, polarity) =>
    constitutions[cases[number][CONSTITUTION]][1].some(
      ([name, wanted]) => (!principle || name === principle) && (!polarity || (polarity === "wanted") === Boolean(wanted)),
    );
  const disagree = (number, verdicts) => {
    const said = verdicts.map((comparison) => comparison.choices[number]);
    return said.includes("0") && said.includes("1");
  };

  // Does a case have a value of a filter?
  const TESTS = {
    outcome: (number, value, chosen) => chosen.verdicts.some((of) => of.choices[number] === value),
    flips: (number, value, chosen) => chosen.steps.some(([a, b]) => FLIPS[value][1](a.choices[number], b.choices[number])),
    principle: (number, value) => states(number, value, state.polarity),
    polarity: (number, value) => states(number, state.principle, value),
    relevance: (number, value, chosen) =>
      measured(number, chosen.policies).some((of) => RELEVANCE[value][1](of, measuresOf(number, data.base))),
    echo: (number, value, chosen) => measured(number, chosen.policies).some(ECHOES[value][1]),
    about: (number, _, chosen) => measured(number, chosen.policies).some((of) => of[ABOUT]),
    degenerate: (number, _, chosen) => some(number, chosen, (response) => response[DEGENERATE]),
    longest: (number, _, chosen) => some(number, chosen, (response) => response[WORDS] >= chosen.longest),
    inconsistent: (number, _, chosen) => chosen.verdicts.some((of) => of.inconsistent[number]),
    disagreement: (number, _, chosen) => chosen.others.some((verdicts) => disagree(number, verdicts)),
  };
  const NAMES = Object.keys(TESTS);

  const termsOf = (text) => [...text.toLowerCase().matchAll(/[“"]([^”"]+)[”"]?|(\S+)/g)].map((found) => found[1] ?? found[2]);
  let folded; // texts in lower case, made when first searched
  // For each case whether every term stands in its query or in one of its responses.
  const search = (terms) => {
    folded ??= new Map(
      unique([...queries.map((query) => query[1]), ...responses.map((response) => response[TEXT])]).map((text) => [text, texts[text].toLowerCase()]),
    );
    const passes = new Uint8Array(cases.length).fill(1);
    for (const term of terms) {
      const within = new Set();
      for (const [text, lower] of folded) if (lower.includes(term)) within.add(text);
      cases.forEach((entry, number) => {
        passes[number] &&= within.has(queries[entry[QUERY]][1]) || entry[RESPONSES].some((response) => within.has(responses[response]?.[TEXT]));
      });
    }
    return passes;
  };

  const marginsOf = (number, chosen) => measured(number, chosen).flatMap((of) => of[MARGIN] ?? []);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const SORTS = {
    "": ["order of the files"],
    longest: ["longest response", (number, chosen) => Math.max(0, ...wordsOf(number, chosen.policies))],
    growth: ["most words over the base model", (number, chosen) =>
      Math.max(-1e9, ...wordsOf(number, chosen.policies).map((words) => words - answerTo(number, data.base)[WORDS]))],
    preferred: ["most preferred", (number, chosen) => {
      const verdicts = chosen.verdicts.filter((of) => judgedOn(of, number));
      return verdicts.length ? mean(verdicts.map((of) => of.preferences[number])) : 0;
    }],
    rejected: ["least preferred", (number, chosen) => -SORTS.preferred[1](number, chosen)],
    narrowest: ["smallest margin", (number, chosen) => -Math.min(1e9, ...marginsOf(number, chosen.policies))],
    widest: ["largest margin", (number, chosen) => Math.max(-1e9, ...marginsOf(number, chosen.policies))],
    echo: ["most echo", (number, chosen) => Math.max(-1, ...measured(number, chosen.policies).map((of) => of[ECHO]))],
  };

  // Sets `shown`; returns for every filter how many cases each of its values would leave, given the others.
  const filter = (chosen) => {
    const terms = termsOf(state.search);
    const passes = search(terms);
    const active = NAMES.filter((name) => state[name] !== "");
    const counts = Object.fromEntries(NAMES.map((name) => [name, new Map()]));
    const values = NAMES.map((name) => [name, valuesOf(name)]);
    shown = [];
    for (let number = 0; number < cases.length; number++) {
      if (!passes[number]) continue;
      const failed = active.filter((name) => !TESTS[name](number, state[name], chosen));
      if (!failed.length) shown.push(number);
      if (failed.length > 1) continue;
      for (const [name, options] of values) {
        if (failed.length && failed[0] !== name) continue;
        for (const value of options) {
          if (TESTS[name](number, value, chosen)) counts[name].set(value, (counts[name].get(value) ?? 0) + 1);
        }
      }
    }
    const key = SORTS[state.sort][1];
    if (key) {
      const keys = new Map(shown.map((number) => [number, key(number, chosen)]));
      shown.sort((a, b) => keys.get(b) - keys.get(a) || a - b);
    }
    return counts;
  };
  const valuesOf = (name) =>
    controls[name].type === "checkbox" ? ["yes"] : [...controls[name].options].map((option) => option.value).filter(Boolean);

  // --- elements -----------------------------------------------------------------------------------------------------

  const el = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== false));
    return element;
  };

  // Characters that show nothing, or turn the direction of what follows, in a form that shows.
  const visible = (text) =>
    text
      .replace(/\r\n?/g, "\n")
      .replace(/[\0-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt()))
      .replace(/[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu, (c) => `⟨U+${c.charCodeAt().toString(16).toUpperCase().padStart(4, "0")}⟩`);
  const count = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
  const badge = (choice) => el("span", { class: `badge ${OUTCOMES[choice]}` }, `${MARKS[choice]} ${OUTCOMES[choice]}`);
  const warning = (text, title) => el("span", { class: "badge warning", title }, text);

  // --- word differences ---------------------------------------------------------------------------------------------

  // A text as [word, white space behind it]; scripts that write no spaces go by the character.
  const PIECE = /([\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{N}][\p{L}\p{M}\p{N}'’_-]*|\S)(\s*)/gu;
  const piecesOf = (text) => [...text.matchAll(PIECE)].map(([, word, gap]) => [word, gap]);

  // The pieces of two texts in order, each as [kind, word, gap]; a longest common subsequence is "same", with its gap in
  // the text before as a fourth. Null where the texts are too long.
  const differences = (before, after) => {
    const same = (i, j) => before[i][0] === after[j][0];
    let [start, n, m] = [0, before.length, after.length];
    while (start < n && start < m && same(start, start)) start++;
    while (n > start && m > start && same(n - 1, m - 1)) n--, m--;
    const kept = (i, j) => ["same", ...after[j], before[i][1]];
    const [rows, columns] = [n - start, m - start];
    if (rows * columns > COMPARABLE) return null;
    const width = columns + 1;
    const longest = new Uint16Array((rows + 1) * width); // of what is left from row i and column j on
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        longest[i * width + j] = same(start + i, start + j)
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    const found = after.slice(0, start).map((_, j) => kept(j, j));
    let [i, j] = [0, 0];
    while (i < rows || j < columns) {
      if (i < rows && j < columns && same(start + i, start + j)) found.push(kept(start + i++, start + j++));
      else if (j === columns || (i < rows && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) found.push(["removed", ...before[start + i++]]);
      else found.push(["added", ...after[start + j++]]);
    }
    return found.concat(after.slice(m).map((_, j) => kept(n + j, m + j)));
  };

  const TAGS = { added: "ins", removed: "del" };
  const marked = (text, reference) => {
    const found = differences(piecesOf(visible(reference)), piecesOf(text))?.filter(([kind]) => kind !== "removed" || state.removed);
    if (!found) return null;
    const nodes = [/^\s*/.exec(text)[0]];
    let [kind, run, gap, was] = ["same", "", "", ""];
    const flush = () => nodes.push(TAGS[kind] ? el(TAGS[kind], {}, run) : run, gap);
    for (const [next, word, behind, before] of found) {
      if (next !== kind) {
        if (next === "removed") gap ||= was; // "a." after "a b.": what is removed stands apart
        flush();
        [kind, run, gap] = [next, "", ""];
      }
      run += gap + word;
      gap = next === "removed" ? behind || " " : behind;
      was = before ?? "";
    }
    flush();
    return nodes;
  };

  // --- the list -----------------------------------------------------------------------------------------------------

  const snippet = (number) => [...visible(texts[queries[cases[number][QUERY]][1]].slice(0, 400)).replace(/\s+/g, " ")].slice(0, 180).join("");
  const row = (number, chosen) => {
    const verdicts = everyPolicy
      .filter((policy) => chosen.of.has(policy) && judgedOn(chosen.of.get(policy), number))
      .map((policy) => [policy, +chosen.of.get(policy).choices[number]]);
    const told = verdicts.map(([policy, choice]) => `${nameOf(policy)} ${OUTCOMES[choice]}`).join(", ");
    return el("li", {},
      el("button", { type: "button", "data-case": number, tabindex: -1 },
        el("span", { class: "snippet", dir: "auto" }, snippet(number)),
        el("span", { class: "under" },
          el("span", {}, visible(constitutions[cases[number][CONSTITUTION]][0])),
          el("span", { class: "marks", title: told, "aria-hidden": "true" },
            ...verdicts.map(([, choice]) => el("span", { class: OUTCOMES[choice] }, MARKS[choice]))),
          el("span", { class: "unseen" }, told))));
  };

  let first = -1; // position in `shown` of the first case in the list
  const showList = (page, chosen) => {
    first = page * PAGE;
    const of = shown.slice(first, first + PAGE);
    $("list").replaceChildren(...of.map((number) => row(number, chosen)));
    $("list").start = first + 1;
    $("list").scrollTop = 0;
    $("page").textContent = shown.length > PAGE ? `${first + 1}–${first + of.length} of ${shown.length.toLocaleString("en")}` : "";
    $("page-back").hidden = $("page-on").hidden = shown.length <= PAGE;
    $("page-back").disabled = first === 0;
    $("page-on").disabled = first + PAGE >= shown.length;
    $("cases").hidden = !shown.length;
    markCurrent();
  };
  const markCurrent = () => {
    const buttons = [...$("list").querySelectorAll("button")];
    const chosen = buttons.find((button) => button.dataset.case === String(current));
    for (const button of buttons) {
      button.tabIndex = button === (chosen ?? buttons[0]) ? 0 : -1; // one stop for the tab key, arrows inside
      if (button === chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    if (!chosen) return;
    const [list, box] = [$("list"), chosen.parentElement];
    const [top, bottom] = [box.offsetTop - list.offsetTop, box.offsetTop - list.offsetTop + box.offsetHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    else if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
  };

  // --- one case -----------------------------------------------------------------------------------------------------

  const referenceOf = (policy, chosen) =>
    ({ base: data.base, previous: previousOf(policy), comparator: chosen.comparator })[state.against];

  const responseOf = (policy, chosen) => {
    const entry = cases[current];
    if (!answerTo(current, policy)) return null;
    const [, tokens, words, cut, degenerate] = answerTo(current, policy);
    const [identified, margin, echo, about] = measuresOf(current, policy);
    const text = visible(textOf(entry[RESPONSES][policy]));
    const reference = referenceOf(policy, chosen);
    const compared = reference !== undefined && reference >= 0 && reference !== policy && answerTo(current, reference);
    const nodes = compared ? marked(text, textOf(entry[RESPONSES][reference])) : [text];
    const verdict = chosen.of.get(policy);
    const statements = constitutions[entry[CONSTITUTION]][1];
    const degrees = entry[DEGREES][policy];
    return el("section", { class: `response${state.policy === policies[policy] ? " chosen" : ""}`, "aria-label": `Response of ${nameOf(policy)}` },
      el("header", {},
        el("div", { class: "title" }, el("h4", {}, nameOf(policy)), verdict && judgedOn(verdict, current) ? badge(+verdict.choices[current]) : null),
        el("div", { class: "facts" },
          el("span", {}, count(words, "word")),
          tokens === null ? null : el("span", {}, count(tokens, "token")),
          margin === null ? null : el("span", { title: "By how much its own query is likelier than the best other, in nats per token" },
            `margin ${margin.toFixed(2)}`),
          el("span", { title: "Share of its constitution that it repeats, beyond that of the others" }, `echo ${(100 * echo).toFixed(0)}%`),
          identified === 0 ? warning("not identified", "Another query is as likely, or likelier, given this response.") : null,
          about ? warning("about its instruction", "It talks about itself or about what it was told.") : null,
          cut ? warning("cut off", "It reached the limit of tokens.") : null,
          degenerate ? warning("degenerate", "Too large a share of its word n-grams are repeats.") : null,
          nodes ? null : el("span", {}, "too long to compare")),
        degrees.every((degree) => degree === null) ? null : el("ul", { class: "degrees", "aria-label": "Degrees by programmatic checks" },
          ...statements.flatMap(([name, wanted], i) => degrees[i] === null ? [] : [el("li", {},
            el("span", {}, `${wanted ? "" : "not "}${visible(name)}`),
            el("meter", { min: 0, max: 1, value: degrees[i], "aria-hidden": "true" }),
            el("span", {}, degrees[i].toFixed(2)))]))),
      text.trim() ? el("div", { class: "text prose", dir: "auto" }, ...(nodes ?? [text])) : el("p", { class: "quiet" }, "An empty response."));
  };

  // A panel's answers name its members; a model's are its words, one a time that it was asked.
  const answerOf = (answer, panel) => {
    const [order, choice, preference, wording] = answer;
    const said = wording === null ? "" : visible(texts[wording]);
    return el("div", {},
      el("div", { class: "facts" }, el("span", {}, panel ? said : ORDERS[order]), badge(choice), el("span", {}, `preference ${preference}`)),
      said && !panel ? el("div", { class: "text", dir: "auto" }, said) : null);
  };
  const verdictOf = (comparison, chosen) => {
    const answers = comparison.answers[current];
    const panel = answers.length > 1 && unique(answers.map((answer) => answer[ORDER])).length === 1;
    const told = [
      badge(+comparison.choices[current]),
      el("span", { class: "who" }, nameOf(comparison.policy)),
      el("span", { class: "tag" }, `by ${judges[comparison.judge]}`),
      comparison.inconsistent[current] && warning("order matters", "Shown in the other order, the judge does not say the same."),
      el("span", { class: "preference", title: "Preference for the policy's response, from 0 to 1" }, comparison.preferences[current].toFixed(2)),
    ];
    if (answers.length < 2 && !answers.some((answer) => answer[WORDING] !== null)) return el("div", { class: "verdict bare" }, ...told.filter(Boolean));
    const asked = chosen.verdicts.length === 1 && chosen.verdicts[0] === comparison;
    return el("details", { class: "verdict", open: asked }, el("summary", {}, ...told.filter(Boolean)),
      el("div", { class: "answers" }, ...answers.map((answer) => answerOf(answer, panel))));
  };

  const LONG = 450; // characters: a longer query is folded
  const queryOf = (text) => {
    const quote = el("blockquote", { class: `query text prose${text.length > LONG ? " long" : ""}`, dir: "auto" }, visible(text));
    if (text.length <= LONG) return [quote];
    const toggle = () => {
      const all = quote.classList.toggle("all");
      more.textContent = all ? "Fold query" : "Whole query";
      more.setAttribute("aria-expanded", all);
    };
    const more = el("button", { type: "button", class: "more", "aria-expanded": "false", onclick: toggle }, "Whole query");
    return [quote, more];
  };

  const showCase = (chosen) => {
    const place = $("case");
    $("position").textContent = shown.length ? `Case ${shown.indexOf(current) + 1} of ${shown.length}` : "";
    if (current < 0) {
      place.replaceChildren(el("div", { class: "nothing" }, el("p", {}, "Nothing matches these filters."),
        el("button", { type: "button", onclick: () => $("controls").reset() }, "Reset filters")));
      return;
    }
    const entry = cases[current];
    const [identifier, text, reference] = queries[entry[QUERY]];
    const [constitution, statements] = constitutions[entry[CONSTITUTION]];
    const at = shown.indexOf(current);
    place.replaceChildren(
      el("div", { class: "bar" },
        el("button", { type: "button", "data-step": -1, disabled: at === 0, "aria-label": "Previous case" }, "←"),
        el("button", { type: "button", "data-step": 1, disabled: at === shown.length - 1, "aria-label": "Next case" }, "→"),
        el("span", { class: "where" }, `${(at + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")} · query `, el("bdi", {}, visible(identifier)),
          " · constitution ", el("bdi", {}, visible(constitution)), numbered ? ` · number ${entry[NUMBER]}` : ""),
        el("button", { type: "button", id: "copy", onclick: copyLink }, "Copy link")),
      el("div", { class: "question" },
        el("div", {}, el("h3", {}, "Query"), ...queryOf(texts[text]),
          reference !== null && el("details", {}, el("summary", { class: "quiet" }, "Reference"),
            el("div", { class: "text prose", dir: "auto" }, visible(texts[reference])))),
        el("div", {}, el("h3", {}, "Constitution"),
          el("ul", { class: "constitution" }, ...statements.map(([name, wanted, statement]) => el("li", {},
            el("div", { class: "text prose", dir: "auto" }, visible(texts[statement])),
            el("div", { class: "tag" }, `${visible(name)}, ${wanted ? "wanted" : "opposite"}`)))))),
      el("h3", {}, "Responses"),
      el("div", { class: "responses" }, ...everyPolicy.map((policy) => responseOf(policy, chosen))),
      el("div", { class: "verdicts" }, ...comparators.map((comparator) => el("section", {},
        el("h3", {}, `Verdicts against ${nameOf(comparator)}`),
        ...byPolicy.filter((of) => of.comparator === comparator && judgedOn(of, current)).map((of) => verdictOf(of, chosen))))));
    highlight(termsOf(state.search));
  };

  // Marks what was searched for, without touching the elements; browsers that cannot show it plain.
  const highlight = (terms) => {
    if (!window.Highlight) return;
    const ranges = [];
    for (const element of $("case").querySelectorAll(".query, .response .text")) {
      const nodes = [];
      let length = 0;
      for (const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT); walker.nextNode(); ) {
        nodes.push([length, walker.currentNode]);
        length += walker.currentNode.length;
      }
      const lower = element.textContent.toLowerCase();
      const place = (offset) => {
        const [start, node] = nodes.findLast(([from]) => from <= offset);
        return [node, Math.min(offset - start, node.length)];
      };
      for (const term of terms) {
        for (let at = lower.indexOf(term); at >= 0; at = lower.indexOf(term, at + term.length)) {
          const range = new Range();
          range.setStart(...place(at));
          range.setEnd(...place(at + term.length));
          ranges.push(range);
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  };

  // --- everything ---------------------------------------------------------------------------------------------------

  const showCounts = (counts, chosen) => {
    for (const name of NAMES) {
      if (controls[name].type === "checkbox") {
        controls[name].parentElement.lastChild.textContent = `(${(counts[name].get("yes") ?? 0).toLocaleString("en")})`;
        continue;
      }
      for (const option of controls[name].options) {
        if (option.value) option.textContent = `${option.dataset.label} (${(counts[name].get(option.value) ?? 0).toLocaleString("en")})`;
      }
    }
    for (const name of FILTERS) controls[name].classList.toggle("changed", state[name] !== "");
    const active = FILTERS.filter((name) => name !== "search" && state[name] !== "").length;
    $("active").textContent = active ? `(${active} active)` : "";
    const said = [0, 0, 0, 0];
    for (const { choices } of chosen.verdicts) for (const number of shown) if (choices[number] !== "-") said[choices[number]]++;
    const verdicts = said.map((total, choice) => (total ? `${total.toLocaleString("en")} ${OUTCOMES[choice]}` : "")).filter(Boolean);
    $("count").replaceChildren(el("strong", {}, shown.length.toLocaleString("en")), ` of ${count(cases.length, "case")}`,
      verdicts.length ? ` · verdicts: ${verdicts.join(", ")}` : "");
  };

  const apply = () => {
    const chosen = selection();
    showCounts(filter(chosen), chosen);
    if (!shown.includes(current)) current = shown.length ? shown[0] : -1;
    showList(Math.max(0, Math.floor(shown.indexOf(current) / PAGE)), chosen);
    showCase(chosen);
  };

  const go = (number) => {
    const inList = $("list").contains(document.activeElement);
    const stepping = document.activeElement?.dataset.step;
    current = number;
    const chosen = selection();
    const page = Math.floor(shown.indexOf(current) / PAGE);
    if (page * PAGE === first) markCurrent();
    else showList(page, chosen);
    showCase(chosen);
    writeLink();
    if (inList) $("list").querySelector("[aria-current]").focus({ preventScroll: true });
    if (stepping) $("case").querySelector(`[data-step="${stepping}"]`).focus({ preventScroll: true });
    const { top } = $("case").getBoundingClientRect();
    if (top < 0 || top > 0.7 * innerHeight) $("case").scrollIntoView({ behavior: "instant" });
  };
  const step = (by) => {
    const next = shown[shown.indexOf(current) + by];
    if (next !== undefined) go(next);
  };

  let saying;
  const say = (text) => {
    $("said").textContent = text;
    clearTimeout(saying);
    saying = setTimeout(() => ($("said").textContent = ""), 5000);
  };
  const copyLink = async () => {
    try {
      await navigator.clipboard.writeText(address());
      say("Link copied.");
    } catch {
      say(address()); // to be copied by hand
    }
  };

  const choices = (name, options) =>
    controls[name].replaceChildren(...options.map(([value, label]) => el("option", { value, "data-label": label }, label)));

  const flag = (name, label) =>
    $("flags").append(el("label", { class: "box" }, el("input", { type: "checkbox", name, value: "yes" }), `${label} `, el("span", {})));

  const build = () => {
    choices("sort", Object.entries(SORTS).map(([value, [label]]) => [value, label]));
    choices("against", [["", "nothing"], ["base", "the base model"], ["previous", "the previous iteration"], ["comparator", "the comparator"]]);
    choices("policy", [["", "all"], ...everyPolicy.map((policy) => [policies[policy], nameOf(policy)])]);
    choices("judge", judges.map((judge) => [judge, judge]));
    choices("comparator", comparators.map((policy) => [policies[policy], nameOf(policy)]));
    choices("outcome", [["", "any"], ...OUTCOMES.map((label, choice) => [String(choice), label])]);
    choices("flips", [["", "any"], ...Object.entries(FLIPS).map(([value, [label]]) => [value, label])]);
    choices("principle", [["", "any"], ...principles.map((name) => [name, visible(name)])]);
    choices("relevance", [["", "any"], ...Object.entries(RELEVANCE).map(([value, [label]]) => [value, label])]);
    choices("echo", [["", "any"], ...Object.entries(ECHOES).map(([value, [label]]) => [value, label])]);
    choices("polarity", [["", "any"], ["wanted", "wanted"], ["opposite", "opposite"]]);
    flag("about", "a response about its instruction");
    flag("degenerate", "a degenerate response");
    flag("longest", "a response in the longest tenth");
    flag("inconsistent", "a verdict that depends on the order");
    flag("disagreement", "judges who disagree");
    controls.inconsistent.parentElement.hidden = !comparisons.some((comparison) => comparison.inconsistent.includes(true));
    controls.disagreement.parentElement.hidden = judges.length < 2;
    controls.removed.value = "yes";
    const relevant = cases.some((_, number) => marginsOf(number, everyPolicy).length);
    for (const option of controls.sort.options) option.hidden = !relevant && ["narrowest", "widest"].includes(option.value);
    controls.relevance.parentElement.hidden = !relevant;
    for (const label of document.querySelectorAll(".judged")) label.hidden = !comparisons.length;
    $("filters").open = innerWidth > 640;
  };

  const listen = () => {
    $("controls").addEventListener("submit", (event) => event.preventDefault());
    $("controls").addEventListener("input", ({ target }) => {
      state[target.name] = target.type === "checkbox" && !target.checked ? "" : target.value;
      if (target.name === "sort") current = -1; // to the top
      apply();
      writeLink();
    });
    $("controls").addEventListener("reset", (event) => {
      event.preventDefault();
      state = { ...START };
      showState();
      apply();
      writeLink();
    });
    $("list").addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) go(Number(button.dataset.case));
    });
    $("case").addEventListener("click", ({ target }) => target.dataset.step && step(Number(target.dataset.step)));
    $("page-back").addEventListener("click", () => showList(first / PAGE - 1, selection()));
    $("page-on").addEventListener("click", () => showList(first / PAGE + 1, selection()));
    $("help-button").addEventListener("click", () => $("help").showModal());
    addEventListener("hashchange", () => readLink() && apply());
    document.addEventListener("keydown", onKey);
  };

  const onKey = (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || !$("keys").checked) return;
    if (target === controls.search && key === "Escape") {
      event.preventDefault();
      if (state.search === "") return target.blur();
      target.value = "";
      target.dispatchEvent(new Event("input", { bubbles: true }));
      return;
    }
    if (target.matches("select, textarea, input:not([type=checkbox])")) return;
    const arrows = target === document.body || $("browser").contains(target); // elsewhere they scroll a table
    const inList = $("list").contains(target);
    const acts = {
      j: () => step(1),
      k: () => step(-1),
      ArrowRight: arrows && (() => step(1)),
      ArrowLeft: arrows && (() => step(-1)),
      ArrowDown: inList && (() => step(1)),
      ArrowUp: inList && (() => step(-1)),
      "/": () => controls.search.focus(),
      "?": () => $("help").showModal(),
    };
    if (!acts[key]) return;
    event.preventDefault();
    acts[key]();
  };

  const theme = () => {
    const [root, button] = [document.documentElement, $("theme")];
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
    const name = () => (button.textContent = isDark() ? "Light colours" : "Dark colours");
    const kept = (value) => {
      try {
        if (value) localStorage.setItem("sami-theme", value);
        return localStorage.getItem("sami-theme");
      } catch { return null; /* a page inside a page may keep nothing */ }
    };
    if (["light", "dark"].includes(kept())) root.dataset.theme = kept();
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      kept(root.dataset.theme);
      name();
    });
    dark.addEventListener("change", name);
    name();
    button.hidden = false;
  };

  theme();
  build();
  listen();
  $("browser").hidden = false;
  const linked = readLink();
  if (!linked) showState();
  apply();
  if (linked) $("browser").scrollIntoView({ behavior: "instant" });
})();
