"""Figures and the report of a made-up experiment: complete, deterministic, safe, and sound at the edges."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_tables import SCRIPT, command, constitutions, write_experiment, write_tables

from sami import plotting, records
from sami.errors import UserError
from sami.records import Example, Query, Verdict
from sami.stages import build_report, plot_figures


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Folder of an experiment with tables, figures and report, and its flags."""
    folder = tmp_path_factory.mktemp("experiment")
    flags = write_experiment(folder)
    for done in (write_tables(flags, folder / "tables"), draw(folder, "figures"), report(folder, flags, "report.html")):
        assert done.returncode == 0, done.stderr
    return folder, flags


def draw(folder, output, hash_seed="0"):
    flags = {"tables": [str(folder / "tables")], "title": ["made-up"], "output": [str(folder / output)]}
    return command("plot_figures", flags, hash_seed)


def report(folder, flags, output, **more):
    given = {name: flags[name] for name in ("constitutions", "queries", "responses", "verdicts")}
    given |= {"tables": [str(folder / "tables")], "figures": [str(folder / "figures")], "title": [f"made-up {SCRIPT}"]}
    return command("build_report", given | more | {"output": [str(folder / output)]})


def test_every_figure_is_a_pdf_and_a_png_of_print_size(experiment):
    folder, _ = experiment
    for name in plot_figures.FIGURES:
        pdf = (folder / "figures" / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/CIDFontType2" in pdf or b"/Subtype /TrueType" in pdf  # real fonts, not drawn glyphs
        assert b"/Type3" not in pdf
        assert b"/CreationDate" not in pdf
        with Image.open(folder / "figures" / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
            assert round(image.width / plotting.PNG_DPI, 1) in (plotting.ONE_COLUMN, plotting.TWO_COLUMNS)
        assert 0.005 < (pixels < 200).mean() < 0.3  # something is drawn, on a clear ground


def test_figures_are_the_same_bytes_in_another_process(experiment):
    folder, _ = experiment
    assert draw(folder, "again", hash_seed="123").returncode == 0
    for name in plot_figures.FIGURES:
        for kind in ("pdf", "png"):
            file = f"{name}.{kind}"
            assert (folder / "again" / file).read_bytes() == (folder / "figures" / file).read_bytes(), file


def points(axes) -> list[tuple[float, float]]:
    """Data of all lines of a panel, without reference lines."""
    return [
        (float(x), float(y))
        for line in axes.get_lines()
        if len(line.get_xdata()) and line.get_marker() not in ("None", "_", "|", "")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_the_win_rate_figure_shows_the_table(experiment):
    folder, _ = experiment
    table = plot_figures.read_table(folder / "tables", "summary")
    axes = plotting.win_rate(table, "made-up").axes[0]
    shown = points(axes)
    assert all((t, table.loc[t, "win_rate"]) in shown for t in (1, 2, 3))
    assert (0.0, 0.5) in shown
    low, high = axes.get_ylim()
    assert low < table["win_low"].min()
    assert high > table["win_high"].max()


def test_the_bound_figure_shows_both_sources_and_their_limit(experiment):
    folder, _ = experiment
    table = plot_figures.read_table(folder / "tables", "information")
    axes = plotting.bound(table).axes[0]
    values = {y for _, y in points(axes)}
    assert values == set(table["bound_nats"])
    assert axes.get_ylim()[1] > table["max_bound"].max()
    assert "log C = 0.69" in [text.get_text() for text in axes.texts]


def test_callers_style_is_neither_used_nor_changed(experiment):
    import matplotlib

    folder, _ = experiment
    table = plot_figures.read_table(folder / "tables", "lengths")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        axes = plotting.length(table).axes[0]
        assert matplotlib.rcParams["font.size"] == 30
    assert axes.get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_figures_without_values(tmp_path):
    empty = pd.DataFrame(columns=["iteration", "principle", "polarity", "degree", "degree_low", "degree_high"])
    figure = plotting.adherence(empty)
    assert "programmatic check" in figure.axes[0].texts[0].get_text()
    bare = pd.DataFrame({"iteration": [0, 1], "win_rate": [np.nan, 1.0], "win_low": np.nan, "win_high": np.nan})
    plotting.save(plotting.win_rate(bare), tmp_path, "win_rate")
    assert (tmp_path / "win_rate.pdf").stat().st_size > 1000


@pytest.mark.parametrize(("kl", "panels"), [(0.0, 4), (0.01, 6)])
def test_divergence_is_shown_where_there_is_one(kl, panels):
    steps = {"loss": 0.5, "row_accuracy": 0.8, "column_accuracy": 0.8, "gradient_norm": 2.0, "kl": kl}
    table = pd.DataFrame([{"iteration": t, "step": n, **steps} for t in (1, 2) for n in (1, 2, 3)])
    assert len(plotting.training(table).axes) == panels


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"summary\.csv: no such file"):
        plot_figures.read_table(str(tmp_path), "summary")


# --- report -----------------------------------------------------------------------------------------------------------


def test_the_report_is_one_file_that_runs_nothing_and_loads_nothing(experiment):
    folder, _ = experiment
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") >= 6  # title, query and one response a policy
    loaded = re.findall(r"(?:src|srcset|data|action)=\"(.{0,30})", page)
    assert loaded
    assert all(value.startswith("data:image/png;base64,") for value in loaded)
    assert "<link" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert len(page.encode()) < 2_000_000


def test_the_report_holds_every_response_with_its_verdict(experiment):
    folder, flags = experiment
    page = (folder / "report.html").read_text(encoding="utf-8")
    for file in flags["responses"]:
        for example in records.read(Example, file):
            assert all(re.split(r"[<&']", response.text)[0] in page for response in example.responses)
    assert page.count('<article class="response">') == 12 * 2 * 4
    won = sum(verdict.choice == "first" for file in flags["verdicts"] for verdict in records.read(Verdict, file))
    assert page.count('<span class="win">win</span>') == won
    assert "95% bootstrap intervals" in page
    assert "seed 1" in page
    assert "All 12 held-out queries." in page


def test_the_report_is_deterministic_and_names_the_given_provenance(experiment, tmp_path):
    folder, flags = experiment
    assert report(folder, flags, "again.html").returncode == 0
    assert (folder / "again.html").read_bytes() == (folder / "report.html").read_bytes()
    record = {"stage": "train", "arguments": {"seed": 9, "training": {"optimizer": "rmsprop"}}, "git_commit": "abc123"}
    (tmp_path / "train.json").write_text(json.dumps({**record, "packages": {"torch": "2.13.0"}}))
    provenance = [str(folder / "tables"), str(tmp_path / "train.json")]
    assert report(folder, flags, "trained.html", provenance=provenance).returncode == 0
    page = (folder / "trained.html").read_text(encoding="utf-8")
    for text in ("seed 1, 9", "torch 2.13.0", "abc123", "Settings of train", "Settings of tabulate", "rmsprop"):
        assert text in page, text


def entries_of(flags):
    return build_report.comparisons(
        [records.read(Example, file) for file in flags["responses"]],
        [records.read(Verdict, file) for file in flags["verdicts"]],
        {constitution.id: constitution for constitution in constitutions()},
        {query.id: query for query in records.read(Query, flags["queries"][0])},
    )


def test_comparisons_group_by_query_and_constitution(experiment):
    _, flags = experiment
    entries = entries_of(flags)
    assert len(entries) == 12
    group = entries[3]["groups"][1]
    example = records.read(Example, flags["responses"][2])[3]
    verdict = next(
        v
        for v in records.read(Verdict, flags["verdicts"][1])
        if (v.query_id, v.constitution_id) == (example.query_id, example.constitution_ids[1])
    )
    assert group["constitution"].id == example.constitution_ids[1]
    assert group["responses"][2]["texts"] == [example.responses[1].text]
    assert group["responses"][2]["result"] == build_report.RESULTS[verdict.choice]
    assert group["responses"][0]["result"] is None


def test_a_large_experiment_is_cut_and_the_page_says_so(experiment):
    _, flags = experiment
    entries = entries_of(flags)
    shown = build_report.within_limit(entries, 20_000)
    assert 1 <= len(shown) < len(entries)
    assert len(build_report.within_limit(entries, 1)) == 1
    empty = {"origin": {}, "settings": [], "confidence": "", "summary": [["a"]], "details": {}}
    figures = dict.fromkeys(build_report.FIGURES, "")
    page = build_report.render(title="t", entries=shown, total=len(entries), figures=figures, **empty)
    assert f"The first {len(shown)} of 12 held-out queries" in page
    frame = build_report.render(title="t", entries=[], total=12, figures=figures, **empty)
    assert len(page.encode()) - len(frame.encode()) < 20_000 * 1.2


def test_the_report_names_what_is_missing(experiment, tmp_path):
    folder, flags = experiment
    with pytest.raises(UserError, match=r"win_rate\.png: no such file"):
        build_report.read_figures(str(tmp_path))
    with pytest.raises(UserError, match="expected a provenance record"):
        build_report.read_provenance([str(tmp_path)])
    done = report(folder, {**flags, "constitutions": flags["queries"]}, "wrong.html")
    assert done.returncode == 2
    assert "queries.jsonl, line 1" in done.stderr
    assert not (folder / "wrong.html").exists()
