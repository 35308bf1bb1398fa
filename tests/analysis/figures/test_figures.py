"""Figures of a made-up experiment: complete, deterministic, and sound at the edges."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tabulated import command

from sami.analysis.figures import policies, relevance, style, training, verdicts, win_rates
from sami.analysis.figures.catalogue import FIGURES
from sami.analysis.tables import files
from sami.errors import UserError

NO_INTERVAL = ["win_low", "win_high", "published_low", "published_high"]


@pytest.fixture(scope="module")
def figures(experiment, tmp_path_factory):
    """Folder of all figures of the experiment."""
    folder = tmp_path_factory.mktemp("drawn") / "figures"
    done = draw(experiment, folder)
    assert done.returncode == 0, done.stderr
    return folder


def draw(experiment, output, hash_seed="0"):
    flags = {"tables": [str(experiment[1])], "title": ["made-up"], "output": [str(output)]}
    return command("plot_figures", flags, hash_seed)


def test_every_figure_is_a_pdf_and_a_png_of_print_size(figures):
    drawn = {path.stem for path in figures.glob("*.pdf")}
    elsewhere = {
        "comparison",
        "frontier",
        "quality",
        "quality_and_relevance",
        "seeds",
        "steering",
        "candidates",
    }  # whose tables lie in other folders
    assert drawn == FIGURES.keys() - elsewhere
    for name in drawn:
        pdf = (figures / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/CIDFontType2" in pdf or b"/Subtype /TrueType" in pdf  # real fonts, not drawn glyphs
        assert b"/Type3" not in pdf
        assert b"/CreationDate" not in pdf
        with Image.open(figures / f"{name}.png") as image:
            pixels = np.asarray(image.convert("L"))
            assert round(image.width / style.PNG_DPI, 1) in (style.ONE_COLUMN, style.TWO_COLUMNS)
        assert 0.005 < (pixels < 200).mean() < 0.3  # something is drawn, on a clear ground


def test_figures_are_the_same_bytes_in_another_process(experiment, figures):
    again = figures.with_name("again")
    assert draw(experiment, again, hash_seed="123").returncode == 0
    for path in figures.glob("*.p*"):
        if path.suffix != ".json":
            assert (again / path.name).read_bytes() == path.read_bytes(), path


def points(axes) -> list[tuple[float, float]]:
    """Data of all lines of a panel, without reference lines."""
    return [(float(x), float(y)) for line in axes.get_lines() for x, y in points_of(line)]


def points_of(line) -> list[tuple[float, float]]:
    """Data of a line that has markers."""
    if line.get_marker() in ("None", "_", "|", ""):
        return []
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def read(experiment, *names) -> list[pd.DataFrame]:
    return [files.read(experiment[1], name) for name in names]


def tick_counts(axes) -> list[str]:
    """Labels of the axis to the right of a panel."""
    (right,) = axes.child_axes
    return [label.get_text() for label in right.get_yticklabels()]


def tick_labels(axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def test_the_win_rate_figure_shows_every_row_of_the_table_once(experiment):
    (table,) = read(experiment, "win_rates")
    panels = win_rates.win_rate(table, "made-up").axes
    assert [axes.get_title(loc="left") for axes in panels] == ["against the base model", "against instruct"]
    for axes, (comparator, rows) in zip(panels, table.groupby("comparator", sort=False), strict=True):
        shown = points(axes)
        assert sorted(y for _, y in shown) == sorted([*rows["win_rate"], 0.5])  # the comparator itself at one half
        assert min(axes.get_ylim()) < table["win_low"].min()
        assert max(axes.get_ylim()) > table["win_high"].max()
        assert tick_labels(axes) == ["0 (base)", "1", "2", "3", "instruct"]
        place = axes.get_xticks()[-1 if comparator == "instruct" else 0]
        assert (place, 0.5) in shown
        # A line joins the iterations of each judge; it does not go on to the other model.
        joined = [
            line for line in axes.get_lines() if len(line.get_xdata()) > 2 and line.get_marker() not in ("_", "|")
        ]
        assert len(joined) == table["judge"].nunique()
        assert all(max(line.get_xdata()) < 3.5 for line in joined)
    styles = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in joined}
    assert len(styles) == len({colour for colour, _, _ in styles}) == table["judge"].nunique()


def test_one_judge_and_one_comparator_need_one_column(experiment):
    (table,) = read(experiment, "win_rates")
    one = table[(table["judge"] == "model") & (table["comparator"] == "iteration-0")]
    figure = win_rates.win_rate(one.assign(published_low=np.nan, published_high=np.nan))
    assert figure.get_figwidth() == style.ONE_COLUMN
    assert not figure.legends
    assert figure.axes[0].get_title(loc="left") == "against the base model"
    assert not figure.axes[0].patches


def test_published_numbers_stand_behind_the_trained_policies(experiment):
    (table,) = read(experiment, "win_rates")
    figure = win_rates.win_rate(table)
    for axes, (low, high) in zip(figure.axes, [(0.66, 0.77), (0.56, 0.56)], strict=True):
        (box,) = axes.patches
        assert (box.get_y(), box.get_y() + box.get_height()) == pytest.approx((low, high))
        assert box.get_x() > 0.5  # the base model is left of it, the other model right
        assert box.get_x() + box.get_width() < 3.5
        assert axes.get_ylim()[0] < low
        assert box.get_facecolor()[:3] == (box.get_facecolor()[0],) * 3  # grey
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["published", *table["judge"].unique()]


def test_a_legend_of_long_names_stays_inside_its_figure(experiment):
    (table,) = read(experiment, "win_rates")
    for judge, name in zip(table["judge"].unique(), "abcd", strict=True):
        table = table.replace({"judge": {judge: name * 40}})
    figure = win_rates.win_rate(table)
    plain = win_rates.win_rate(table[table["judge"] == "a" * 40].assign(published_low=np.nan, published_high=np.nan))
    assert figure.legends[0].get_window_extent().width < figure.bbox.width
    assert figure.get_figheight() > plain.get_figheight()  # at the cost of no panel


def test_the_length_figure_shows_bins_and_fit(experiment):
    (bins,) = read(experiment, "length_bias")
    (left,) = verdicts.length_bias(bins).axes
    names = {"policy": "iteration-3", "judge": "checks", "comparator": "iteration-0"}
    shown = bins[(bins[list(names)] == pd.Series(names)).all(axis=1)]
    expected = list(zip(shown["standardised"], shown["preference"], strict=True))
    assert points(left) == expected
    (curve,) = (line for line in left.get_lines() if len(line.get_xdata()) > 100)
    row = shown.iloc[0]
    odds = row["intercept"] + row["coefficient"] * np.tanh(curve.get_xdata())
    assert np.log(curve.get_ydata() / (1 - curve.get_ydata())) == pytest.approx(odds)


def test_rates_at_equal_length_stand_beside_those_as_judged(experiment):
    (table,) = read(experiment, "win_rates")
    first = table[table["judge"] == "checks"]
    for axes, (_, rows) in zip(win_rates.length_controlled(table).axes, first.groupby("comparator", sort=False),
                               strict=True):  # fmt: skip
        assert sorted(y for _, y in points(axes)) == sorted([*rows["win_rate"], *rows["lc_win_rate"], 0.5])


def test_the_principles_figure_shows_the_last_trained_policy(experiment):
    (table,) = read(experiment, "win_rates_by_principle")
    (axes,) = verdicts.win_rate_by_principle(table).axes
    names = {"policy": "iteration-3", "judge": "checks", "comparator": "iteration-0"}
    shown = table[(table[list(names)] == pd.Series(names)).all(axis=1)]
    assert sorted(x for x, _ in points(axes)) == sorted(shown["win_rate"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["short", "excited", "polite"]
    both = shown[shown["polarity"] == "both"]
    counts = [f"{had} / {needed}" for had, needed in zip(both["n_queries"], both["queries_needed"], strict=True)]
    assert tick_counts(axes) == counts
    wanted_only = table[table["polarity"] == "wanted"]
    (legend,) = verdicts.win_rate_by_principle(wanted_only).legends
    assert [text.get_text() for text in legend.get_texts()] == ["wanted"]
    unknown = table.assign(queries_needed=np.nan, win_low=np.nan, win_high=np.nan)  # one query each
    assert tick_counts(verdicts.win_rate_by_principle(unknown).axes[0]) == ["12 / -", "6 / -", "6 / -"]


def test_figures_of_policies_that_were_neither_trained_nor_scored(experiment):
    """Imported responses: words in place of tokens, no panel of log-probabilities."""
    lengths, degeneration = read(experiment, "lengths", "degeneration")
    unknown = lengths.assign(**{name: np.nan for name in lengths if "_tokens" in name})
    (axes,) = policies.length(unknown).axes
    assert axes.get_ylabel() == "Mean response length (words)"
    assert sorted(y for _, y in points(axes)) == sorted(lengths["mean_words"])
    unscored = degeneration.assign(own_log_probability=np.nan, base_log_probability=np.nan)
    assert len(policies.degeneration(unscored).axes) == 1
    assert len(policies.degeneration(degeneration).axes) == 2


def test_the_bound_figure_shows_both_sources_and_their_limit(experiment):
    (table,) = read(experiment, "information")
    axes, accuracies = policies.bound(table).axes
    values = {y for _, y in points(axes)}
    assert values == set(table["bound_nats"])
    assert axes.get_ylim()[1] > table["max_bound"].max()
    assert "log C = 0.69" in [text.get_text() for text in axes.texts]
    own = table[table["responses"] == "own"]
    assert sorted(y for _, y in points(accuracies)) == sorted([*own["row_accuracy"], *own["column_accuracy"]])


def test_the_relevance_figure_shows_every_policy_where_it_stands(experiment):
    told, rates = read(experiment, "relevance", "win_rates")
    figure = relevance.relevance(told, rates, "made-up")
    alone = told[told["context"] == "alone"].set_index("policy")
    first = rates[(rates["judge"] == "checks") & (rates["comparator"] == "iteration-0")].set_index("policy")["win_rate"]
    for axes, name in zip(figure.axes, ("margin", "identified"), strict=True):
        expected = [(first.get(policy, 0.5), row[name]) for policy, row in alone.iterrows()]
        assert sorted(points(axes)) == sorted(expected)
        assert [text.get_text() for text in axes.texts[:5]] == ["base", "1", "2", "3", "instruct"]
        joined = [line for line in axes.get_lines() if len(line.get_xdata()) == 4 and line.get_marker() == "None"]
        assert [list(zip(*line.get_data(), strict=True)) for line in joined] == [expected[:4]]
        hollow = [line for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
        assert [line.get_xdata().tolist() for line in hollow if len(line.get_xdata())] == [[0.5]]
        (corner,) = axes.patches
        base = alone.loc["iteration-0", name]
        low, high = axes.get_ylim()
        assert low + corner.get_y() * (high - low) == pytest.approx(base)
        assert corner.get_x() == 0.5
        assert low < alone[f"{name}_low"].min()
        assert high > alone[f"{name}_high"].max() or name == "identified"
        assert axes.get_xlabel() == "Win rate against the base model"


def test_the_frontier_has_a_line_for_each_experiment_whose_relevance_was_measured(experiment):
    told, rates = read(experiment, "relevance", "win_rates")
    judged = rates[(rates["judge"] == "checks") & (rates["comparator"] == "iteration-0")]
    of_one = told[told["context"] == "alone"].merge(judged, on=["policy", "iteration"], how="left")
    of_one = of_one.assign(comparator="iteration-0")
    names = [f"experiment {number}" for number in range(8)]
    table = pd.concat([of_one.assign(experiment=name, margin=of_one["margin"] + n) for n, name in enumerate(names)])
    table = pd.concat([table, of_one.assign(experiment="unknown", margin=np.nan)])
    figure = relevance.frontier(table, "made-up")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    margins = figure.axes[0]
    assert len(points(margins)) == 8 * 4  # the model that was not trained is left out
    marks = {
        (line.get_color(), line.get_marker()) for line in margins.get_lines() if line.get_marker() in set("os^DvP")
    }
    assert len(marks) == 8
    filled = [
        line for line in margins.get_lines() if line.get_markerfacecolor() == line.get_color() and points_of(line)
    ]
    assert sorted(y for line in filled for _, y in points_of(line)) == pytest.approx(
        sorted(of_one.set_index("policy")["margin"]["iteration-3"] + n for n in range(8))
    )
    empty = relevance.frontier(table[table["experiment"] == "unknown"])
    assert empty.axes[0].texts[0].get_text() == "Relevance was not measured."


def test_callers_style_is_neither_used_nor_changed(experiment):
    import matplotlib

    (table,) = read(experiment, "lengths")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black"}):
        axes = policies.length(table).axes[0]
        assert matplotlib.rcParams["font.size"] == 30
    assert axes.get_facecolor() == (1.0, 1.0, 1.0, 1.0)


def test_only_the_figures_asked_for_are_drawn(experiment, tmp_path):
    flags = {"tables": [str(experiment[1])], "title": ["made-up"], "figures": ["length", "win_rate"]}
    done = command("plot_figures", flags | {"output": [str(tmp_path / "figures")]})
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {"length", "win_rate"}


def test_figures_without_values(tmp_path):
    empty = pd.DataFrame(
        columns=["policy", "iteration", "principle", "polarity", "degree", "degree_low", "degree_high"]
    )
    figure = policies.adherence(empty)
    assert "programmatic check" in figure.axes[0].texts[0].get_text()
    for draw_figure, name in ((policies.bound, "scored"), (training.training, "trained")):
        bare = pd.DataFrame(columns=["policy", "iteration", "principles"])
        assert draw_figure(bare).axes[0].texts[0].get_text() == f"No policy was {name}."
    unmeasured = relevance.relevance(pd.DataFrame(columns=["policy", "iteration", "context"]), pd.DataFrame())
    assert unmeasured.axes[0].texts[0].get_text() == "Relevance was not measured."
    names = {"policy": ["iteration-1"], "comparator": "iteration-0", "judge": "checks"}
    bare = pd.DataFrame({**names, "win_rate": 1.0} | dict.fromkeys(NO_INTERVAL, np.nan))
    style.save(win_rates.win_rate(bare), tmp_path, "win_rate")
    assert (tmp_path / "win_rate.pdf").stat().st_size > 1000


@pytest.mark.parametrize(("kl", "panels"), [(0.0, 4), (0.01, 6)])
def test_divergence_is_shown_where_there_is_one(kl, panels):
    steps = {"loss": 0.5, "row_accuracy": 0.8, "column_accuracy": 0.8, "gradient_norm": 2.0, "kl": kl}
    table = pd.DataFrame([{"iteration": t, "step": n, **steps} for t in (1, 2) for n in (1, 2, 3)])
    assert len(training.training(table).axes) == panels


SAMI = ["loss", "bound", "row_accuracy", "column_accuracy", "own_log_probability", "other_log_probability", "kl"]


@pytest.mark.parametrize(
    ("metrics", "labels"),
    [
        (SAMI, ["Loss (nats)", "Row accuracy", "Column accuracy", "Gradient norm", "KL divergence (nats)"]),
        (["loss", "margin", "accuracy"], ["Loss (nats)", "Margin", "Accuracy", "Gradient norm"]),
        (["loss"], ["Loss (nats)", "Gradient norm"]),
    ],
)
def test_every_metric_of_an_objective_has_a_panel(metrics, labels):
    """But for those that another panel or figure shows."""
    step = {"step": 1, **dict.fromkeys(metrics, -0.5), "gradient_norm": 2.0, "learning_rate": 1e-5, "queries": 8}
    table = pd.DataFrame([{"policy": "iteration-1", "iteration": 1, **step, "step": n} for n in (1, 2)])
    drawn = [axes for axes in training.training(table).axes if axes.get_ylabel()]
    assert [axes.get_ylabel() for axes in drawn] == labels
    for axes in drawn:
        low, high = axes.get_ylim()
        values = [y for line in axes.get_lines() for y in line.get_ydata()]
        assert low < min(values)
        assert high > max(values)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"summary\.csv: no such file"):
        files.read(str(tmp_path), "summary")
