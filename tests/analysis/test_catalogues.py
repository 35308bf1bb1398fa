"""The catalogues of tables and figures: what an entry more needs, and that everything else follows from them."""

import subprocess
import sys
from typing import get_args

import pytest
from conftest import ROOT
from tabulated import load, write_experiment

from sami.analysis import captions
from sami.analysis.figures import catalogue as figures
from sami.analysis.figures import draw
from sami.analysis.figures import policies as figures_of_policies
from sami.analysis.figures.catalogue import FIGURES, Figure
from sami.analysis.figures.parts import subplots
from sami.analysis.report import page
from sami.analysis.statistics.win_rates import CHOICES
from sami.analysis.tables import build, files, policies
from sami.analysis.tables import catalogue as tables
from sami.analysis.tables.catalogue import TABLES, Table
from sami.records import Choice


@pytest.fixture
def loudness(monkeypatch):
    """A table and a figure more: a function and an entry each."""

    def loudness(run):
        marks = {policy.name: [r.text.count("!") for _, r in policy.responses] for policy in run.policies}
        return [{"policy": name, "marks": sum(of) / len(of), "n_responses": len(of)} for name, of in marks.items()]

    def figure(table, title):
        drawn, (axes,) = subplots(3, 2, 1, title)
        axes.plot(table["policy"], table["marks"])
        return drawn

    monkeypatch.setattr(policies, "loudness", loudness, raising=False)
    entry = Table("loudness", "policies.loudness", ("policy", "marks", "n_responses"), "Marks.", ("policy", "marks"))
    monkeypatch.setitem(TABLES, "loudness", entry)
    monkeypatch.setattr(figures_of_policies, "loudness", figure, raising=False)
    entry = Figure("loudness", "policies.loudness", ("loudness",), "How ``!`` goes & comes.")
    monkeypatch.setitem(FIGURES, "loudness", entry)


def test_a_table_and_a_figure_more_are_a_function_and_an_entry_each(loudness, tmp_path):
    run = load(write_experiment(tmp_path / "run", queries=2, iterations=1, judges=["checks"]))
    files.write(build.build(run), tmp_path / "tables")
    table = files.read(tmp_path / "tables", "loudness")
    assert table["policy"].tolist() == [policy.name for policy in run.policies]
    assert (tmp_path / "tables/loudness.md").read_text().splitlines()[0].split() == ["|", "policy", "|", "marks", "|"]
    assert {"loudness.csv", "loudness.md", "loudness.tex"} <= set(tables.files())
    assert draw.possible(tmp_path / "tables")[-1] == "loudness"
    draw.draw_all(["loudness"], tmp_path / "tables", "made-up", tmp_path / "figures")
    assert figures.files(figures.of_experiment(False, False, False))[-2:] == ["loudness.pdf", "loudness.png"]
    (shown,) = page.read_figures([tmp_path / "figures"])
    assert shown.caption == FIGURES["loudness"].caption
    assert "Marks." in [table.caption for table in page.read_tables([tmp_path / "tables"])]
    assert "figures/loudness.rst" in captions.captions()


def test_entries_have_functions_captions_and_tables():
    for modules, entries in ((build.MODULES, TABLES), (draw.MODULES, FIGURES)):
        for name, entry in entries.items():
            module, function = entry.function.split(".")
            assert callable(getattr(modules[module], function)), name
            assert (entry.name, entry.caption[-1]) == (name, ".")
            assert set(entry.tables) <= TABLES.keys()
    for table in TABLES.values():
        columns = {*table.columns, *(name for name in table.printed if set(tables.ends(name)) <= {*table.columns})}
        assert set(table.printed) <= columns, table.name
        assert len(set(table.columns)) == len(table.columns)


def test_experiments_have_the_figures_of_their_kind():
    every = {figure.name for figure in figures.of_experiment(training=True, scored=True, held_out=True)}
    others = {"comparison", "frontier", "quality", "quality_and_relevance", "seeds", "steering", "candidates"}
    assert FIGURES.keys() - every == others
    assert every - {figure.name for figure in figures.of_experiment(False, False, False)} == {
        "bound", "training", "generalisation",
    }  # fmt: skip
    assert every - {figure.name for figure in figures.of_experiment(True, False, True)} == {"bound"}


def test_the_workflow_can_read_the_catalogues_without_any_package():
    code = "import sys; from sami.analysis.figures import catalogue; from sami.analysis.tables import catalogue; "
    done = subprocess.run([sys.executable, "-c", code + "print(*sys.modules)"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"numpy", "pandas", "matplotlib", "pydantic", "torch"} & set(done.stdout.split())


def test_captions_of_snakemakes_report_are_those_of_the_catalogues():
    folder = ROOT / "workflow/report"
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("*/*.rst")}
    assert found == captions.captions(), "run python -m sami.analysis.captions workflow/report"


def test_statistics_know_the_choices_of_the_records():
    assert get_args(Choice) == CHOICES
