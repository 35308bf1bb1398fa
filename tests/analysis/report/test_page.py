"""The page of an experiment: what is on it, and what it is made of."""

import argparse
import json
import re
import shutil
from pathlib import Path

import pytest
from reported import report, write_records, write_results
from tabulated import EVALUATION

from sami.analysis.report import page
from sami.errors import UserError
from sami.settings.evaluation import Evaluation
from sami.stages import build_report


def test_without_a_script_all_but_the_browser_is_there(experiment, visit, chromium):
    folder, _ = experiment
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((folder / "report.html").as_uri())
    assert "needs JavaScript" in tab.inner_text("#responses ~ noscript")
    assert tab.locator("#browser").is_hidden()
    assert tab.locator("figure img").count() == 3
    assert tab.locator("figcaption").all_inner_texts()[0] == page.FIGURES["win_rate"].caption.replace("``", "")
    assert tab.locator("figcaption").all_inner_texts()[2] == "Unheard of"
    assert tab.locator("figure.broad").count() == 1
    assert tab.locator("#summary ~ .wide tbody tr").count() == 2
    names = [text.split("\n")[0].split()[0] for text in tab.locator("#tables ~ details > summary").all_inner_texts()]
    assert names == ["Win", "Zebra"]
    assert "<script>window.ran = 1</script>" in tab.locator("#tables ~ details").nth(1).text_content()
    context.close()


def test_the_page_is_the_same_bytes_again_and_names_the_given_provenance(experiment, tmp_path):
    folder, flags = experiment
    assert report(folder, flags, "again.html").returncode == 0
    assert (folder / "again.html").read_bytes() == (folder / "report.html").read_bytes()
    record = {"stage": "train", "arguments": {"seed": 9, "training": {"optimizer": "rmsprop"}}, "git_commit": "abc123"}
    found = [{"stage": "tabulate", "arguments": {"seed": 1}, "packages": {"torch": "2.13.0"}}, record]
    assert page.origin(found) == {"seed": "1, 9", "commit": "abc123", "torch": "2.13.0"}
    assert [stage for stage, _ in page.settings_of(found)] == ["tabulate", "train"]
    text = (folder / "report.html").read_text()
    assert "95% intervals" in text
    assert "where <code>evaluation.published</code> gives it" in text  # the caption of a figure
    assert re.findall(r"(?:src|srcset|action|href)=\"(?!data:image/png;base64,|#)([^\"]{0,40})", text) == [
        "https://arxiv.org/abs/2404.14313"  # a link to follow, nothing to load
    ]


def test_half_characters_cannot_end_the_data():
    text = "</script>\ud83d \u2028 \x00"
    written = page.embedded([text])
    assert "<" not in written
    written.encode()  # no lone surrogates
    assert json.loads(written) == [text]


def drop_first(path: str) -> None:
    lines = Path(path).read_text().splitlines(keepends=True)
    Path(path).write_text("".join(lines[1:]))


def replace(path: str, old: str, new: str) -> None:
    Path(path).write_text(Path(path).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f["policies"].pop(), "--policies: found .* expected one name of its own for each of the 4 files"),
        (
            lambda f: f["policies"].reverse(),
            "iteration-0.jsonl: found responses of the policy 'iteration-0', expected those of 'in",
        ),
        (
            lambda f: (f["policies"].pop(0), f["responses"].pop(0)),
            r"expected one name .* iteration-0 \(the base model\) among them",
        ),
        (
            lambda f: drop_first(f["responses"][1]),
            "iteration-1.jsonl: found 2 examples, expected those of the 3 queries",
        ),
        (
            lambda f: drop_first(f["verdicts"][0]),
            "found 5 verdicts on 5 pairs, expected one on each of the 6 responses of iteration-1",
        ),
        (
            lambda f: replace(f["verdicts"][0], '"second":"', '"second":"x'),
            "query 'q.', constitution .*: the verdict is on other texts",
        ),
        (
            lambda f: f["verdicts"].append(f["verdicts"][0] + "l"),
            "found the verdicts of .*, which .* holds too; expected one file of each",
        ),
        (
            lambda f: drop_first(f["queries"][0]),
            "query 'q0', set 'short': the query or one of .* is not in the files of --queries",
        ),
        (lambda f: f["tables"].append(f["tables"].pop() + "x"), "tablesx.* expected a provenance record"),
        (lambda f: f["figures"].append(f["figures"].pop() + "x"), "figuresx: no such folder"),
        (lambda f: Path(f["figures"][0], "bound.png").write_text("?"), "bound.png: this is no PNG file"),
        (
            lambda f: Path(f["tables"][0], "odd.csv").write_text("a,b\n1\n"),
            "odd.csv, record 2: found 1 cells, expected",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, spoil, message):
    flags = write_records(tmp_path, count=3) | write_results(tmp_path)
    shutil.copy(flags["verdicts"][0], flags["verdicts"][0] + "l")
    flags["policies"] = list(flags["policies"])
    spoil(flags)
    several = ("policies", "responses", "verdicts", "relevance", "constitutions")
    given = {name: value if name in several else Path(value[0]) for name, value in flags.items()}
    given |= {name: [given[name]] for name in ("tables", "figures")}
    arguments = argparse.Namespace(
        **given, evaluation=Evaluation.model_validate(EVALUATION), title="t", provenance=None,
        output=tmp_path / "report.html",
    )  # fmt: skip
    with pytest.raises(UserError, match=f"(?s){message}"):
        build_report.main(arguments)
    assert not arguments.output.exists()


def test_several_folders_are_shown_in_the_order_of_the_catalogues(tmp_path):
    for name, tables in (("tables", ("win_rates", "own")), ("steering", ("steering_summary", "steering"))):
        (tmp_path / name).mkdir()
        for table in tables:
            (tmp_path / name / f"{table}.csv").write_text("a,b\n1,2\n")
    folders = [tmp_path / "steering", tmp_path / "tables"]
    assert [table.name for table in page.read_tables(folders)] == ["win_rates", "steering", "steering_summary", "own"]
    with pytest.raises(UserError, match="nowhere: no such folder"):
        page.read_tables([*folders, tmp_path / "nowhere"])
