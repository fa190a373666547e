"""The whole way from run folders to files."""

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from sasa_cli.errors import SpecError
from sasa_cli.reporting.report import ReportResult, build_report, check_report, parse_formats
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.runs.paths import ExperimentPaths
from sasa_cli.runs.record import Scores, read_record

from .conftest import Maker, write_small
from .results_folder import EPOCHS, EXTENT, STAGES, Experiment

VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Built:
    experiment: Experiment
    result: ReportResult

    @property
    def report(self) -> Path:
        return self.experiment.paths.report

    def read(self, name: str) -> str:
        return (self.report / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """With a failed run and a broken one; for tests that change nothing, as drawing takes time."""
    experiment = write_small(ExperimentPaths(tmp_path_factory.mktemp("reporting") / "results" / "demo"))
    experiment.fail(experiment.run("k7-CCAA", 1))
    make_folder(experiment.paths.run("torn").folder)
    write_text(experiment.paths.run("torn").record, "{")
    return Built(experiment, build_report([experiment.paths.folder]))


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> Built:
    """The same, to be changed."""
    folder = shutil.copytree(built.experiment.paths.folder, tmp_path / "demo")
    return replace(built, experiment=replace(built.experiment, paths=ExperimentPaths(folder)))


def tree(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_all_files_are_written_and_named(built: Built) -> None:
    figures = ["accuracy-by-placement", "accuracy-by-spatial-extent", "accuracy-by-params", "accuracy-by-flops"]
    expected = {
        *("report.md", "report.html"),
        *(f"tables/{name}.csv" for name in ("results", "cost", "runs", "differences", "verdicts", "pairs")),
        *(f"tables/{name}.tex" for name in ("results", "cost", "differences", "verdicts", "pairs")),
        *(f"figures/{name}.{ending}" for name in (*figures, "training-curves") for ending in ("svg", "png")),
    }
    assert set(tree(built.report)) == expected
    assert {path.relative_to(built.report).as_posix() for path in built.result.paths} == expected


def test_two_builds_are_equal_byte_for_byte(copied: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tree(copied.report)
    monkeypatch.chdir(copied.experiment.paths.folder)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    build_report([Path(".")])
    assert tree(copied.report) == first


def test_every_number_is_the_same_in_every_format(built: Built) -> None:
    (table,) = built.result.summaries
    rows = list(csv.DictReader(built.read("tables/results.csv").splitlines()))
    html, markdown, latex = built.read("report.html"), built.read("report.md"), built.read("tables/results.tex")
    assert [row["cell"] for row in rows] == [str(row[0]) for row in table.rows] == ["CCCC", "k3-CCAA", "k7-CCAA"]
    for row in rows:
        for score in ("test_top1_last", "test_top1_best", "val_top1_best"):
            mean, half_width = row[f"{score}_mean"], row[f"{score}_half_width"]
            texts = f"{float(mean):.2f}", f"{float(half_width):.2f}" if half_width else "–"
            assert f"{texts[0]} ± {texts[1]}" in markdown
            assert f'<span class="mean">{texts[0]}</span> ± <span class="half-width">{texts[1]}</span>' in html
            assert f"{texts[0]} $\\pm$ {texts[1].replace('–', '--')}" in latex
        for text in (f"{int(row['params']) / 1e6:.3f}", f"{int(row['flops']) / 1e6:.1f}"):
            assert all(text in page for page in (markdown, html, latex))
    assert (rows[2]["n"], rows[2]["planned"]) == ("1", "2")
    assert int(rows[0]["flops"]) == 2 * int(rows[0]["macs"])


def test_the_csv_holds_unrounded_numbers(built: Built) -> None:
    runs = {row["run_id"]: row for row in csv.DictReader(built.read("tables/runs.csv").splitlines())}
    run = built.experiment.run("k3-CCAA", 1)
    assert float(runs[run.run_id]["test_top1_last"]) == 82.4
    failed = runs[built.experiment.run("k7-CCAA", 1).run_id]
    assert (failed["status"], failed["detail"]) == ("failed", "RunError: loss is nan (epoch 2, step 17)")
    assert failed["test_top1_last"] == ""


def test_the_terminal_has_the_verdicts_of_the_report(make_experiment: Maker) -> None:
    experiment = make_experiment([{EXTENT: 3}, {EXTENT: 7}], seeds=[0, 1, 2])
    experiment.write_plan()
    for run in experiment.runs:
        experiment.finish(run, 70.0 + run.cell[EXTENT] + 0.1 * run.seed + 0.01 * run.seed * run.cell[EXTENT])
    (table,) = build_report([experiment.paths.folder]).verdicts
    pairs = csv.DictReader((experiment.paths.report / "tables/pairs.csv").read_text().splitlines())
    assert [tuple(map(str, row)) for row in table.rows] == [("larger spatial extents", "supported", "1", "0", "0")]
    assert [(pair["claim"], pair["says"]) for pair in pairs] == [("larger-extent", "for")]


def test_problems_are_told_and_shown(built: Built) -> None:
    (problem,) = built.result.problems
    assert problem.startswith(f"{built.experiment.paths.folder}: runs/torn/record.json: broken")
    for page in (built.read("report.md"), built.read("report.html")):
        assert "runs/torn/record.json: broken" in page
        assert "1 of 6 runs have no final numbers: 1 failed." in page
        assert "loss is nan (epoch 2, step 17)" in page
        assert str(built.experiment.paths.folder) not in page
    assert built.result.summaries[0].notes == ("1 of 6 runs have no final numbers: 1 failed.",)


@dataclass
class Page(HTMLParser):
    """Checks that tags are closed in order, and collects what the page refers to."""

    links: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    open_tags: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, dict(attrs))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, dict(attrs))
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def _note(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.ids += [value for name, value in attributes.items() if name == "id" and value]
        self.links += [value for name, value in attributes.items() if name == "href" and tag == "a" and value]
        self.loaded += [value for name, value in attributes.items() if name in {"src", "srcset", "data"} and value]
        assert tag not in {"script", "link", "iframe", "object", "embed"}


def test_the_page_is_well_formed_and_loads_nothing(built: Built) -> None:
    html = built.read("report.html")
    page = Page()
    page.feed(html)
    page.close()
    assert page.open_tags == []
    assert page.loaded == []
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"@import|url\((?!#)", html)
    assert not [link for link in page.links if link.startswith(("http:", "https:", "//"))]
    assert html.count("<caption>") == html.count("<table") == html.count("</table>")
    assert html.count('role="img"') == html.count("<svg ") == 5


def links_of(built: Built) -> Iterator[str]:
    page = Page()
    page.feed(built.read("report.html"))
    yield from page.links
    yield from re.findall(r"\]\(([^)]+)\)", built.read("report.md"))


def test_every_link_leads_to_a_place_on_disk(built: Built) -> None:
    links = list(links_of(built))
    page = built.read("report.html")
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in page
        else:
            assert (built.report / unquote(link)).exists(), link
    for run in built.experiment.runs:
        assert links.count(f"../runs/{run.run_id}/") >= 2  # in both pages


def test_latex_is_balanced(built: Built) -> None:
    for name in ("results", "cost", "differences", "verdicts", "pairs"):
        name = f"tables/{name}.tex"
        text = built.read(name)
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")
        assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
        rules = [text.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
        assert rules == sorted(rules)
        assert "Seeds" not in text


def test_nothing_differs_after_a_build(built: Built) -> None:
    assert check_report([built.experiment.paths.folder]) == []


def test_a_changed_number_is_found(copied: Built) -> None:
    for name, old, new in (
        ("tables/results.csv", "80.2,", "80.3,"),
        ("tables/results.tex", "82.20", "82.30"),
        ("report.md", "80.20 ± 2.54", "80.20 ± 2.44"),
        ("report.html", ">84.00<", ">84.10<"),
    ):
        text = copied.read(name)
        assert old in text
        write_text(copied.report / name, text.replace(old, new, 1))
    svg = copied.report / "figures" / "training-curves.svg"
    svg.write_text(svg.read_text().replace("<path", "<path ", 1))
    found = check_report([copied.experiment.paths.folder])
    assert sorted(line.removeprefix(f"{copied.report}/").split(":")[0] for line in found) == [
        *("figures/training-curves.svg", "report.html", "report.md", "tables/results.csv", "tables/results.tex"),
    ]
    assert any("CCCC, test_top1_last_mean: says 80.3, the results give 80.2" in line for line in found)


def test_changed_results_are_found(small: Experiment) -> None:
    build_report([small.paths.folder], ["csv"])
    run = small.run("CCCC")
    small.finish(run, 81.0)
    found = check_report([small.paths.folder])
    file = small.paths.report / "tables" / "runs.csv"
    assert f"{file}: {run.run_id}, test_top1_last: says 80.0, the results give 81.0" in found


def test_a_build_removes_what_the_results_no_longer_give(small: Experiment) -> None:
    tables = small.paths.report / "tables"
    build_report([small.paths.folder], ["csv", "tex"])
    for name in ("old.csv", "old.tex", "mine.txt"):
        write_text(tables / name, "")
    build_report([small.paths.folder], ["csv"])
    assert {file.name for file in tables.iterdir()} == {
        *(f"{name}.csv" for name in ("results", "cost", "runs", "differences", "verdicts", "pairs")),
        *(f"{name}.tex" for name in ("results", "cost", "differences", "verdicts", "pairs", "old")),
        "mine.txt",
    }


def test_without_a_report_the_check_says_so(small: Experiment) -> None:
    (line,) = check_report([small.paths.folder])
    assert "no report here" in line


def test_only_the_formats_asked_for_are_written_and_checked(small: Experiment) -> None:
    build_report([small.paths.folder], ["csv", "tex"])
    assert {file.split("/")[0] for file in tree(small.paths.report)} == {"tables"}
    assert check_report([small.paths.folder]) == []


def test_formats_are_parsed() -> None:
    assert parse_formats("html, md") == ("md", "html")
    with pytest.raises(SpecError, match="'pdf' is not allowed; allowed are md, html, csv, tex, png"):
        parse_formats("md,pdf")


def test_an_experiment_without_a_finished_run(make_experiment: Maker) -> None:
    experiment = make_experiment([{STAGES: "CCCC"}, {STAGES: "AAAA", EXTENT: 3}])
    experiment.write_plan()
    result = build_report([experiment.paths.folder])
    assert "4 of 4 runs have no final numbers: 4 missing." in (experiment.paths.report / "report.md").read_text()
    assert [row[1] for row in result.summaries[0].seen.rows] == ["0/2", "0/2"]


def test_several_experiments_get_a_report_each(small: Experiment, make_experiment: Maker) -> None:
    other = make_experiment([{STAGES: "AAAA"}], seeds=[0], name="other")
    other.finish(other.runs[0], 80.0)
    result = build_report([small.paths.folder.parent], ["csv"])
    assert [table.title.split(":")[0] for table in result.summaries] == ["demo", "other"]
    assert other.paths.report.is_dir()


def test_names_are_escaped_in_every_format(make_experiment: Maker) -> None:
    experiment = make_experiment([{"recipe.schedule": "<b>50%_of|it</b>"}, {"recipe.schedule": "cosine"}], seeds=[0])
    for index, run in enumerate(experiment.runs):
        experiment.finish(run.model_copy(update={"cell_hash": str(index), "run_id": f"run{index}"}), 80.0)
    build_report([experiment.paths.folder])
    texts = {name: content.decode(errors="replace") for name, content in tree(experiment.paths.report).items()}
    assert "<b>" not in texts["report.html"]
    assert "&lt;b>50%\\_of\\|it&lt;/b>" in texts["report.md"]
    assert r"50\%\_of|it" in texts["tables/results.tex"]


def test_reports_need_no_torch() -> None:
    program = "import sys, sasa_cli.reporting.report; print('torch' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_check_holds_records_against_their_metrics(small: Experiment) -> None:
    """An edited record gives another report, built from it, that would agree with itself."""
    run = small.runs[0]
    record = read_record(small.paths.run(run.run_id))
    assert record is not None
    assert record.metrics is not None
    edited = record.metrics.val_last.model_copy(update={"raw": Scores(loss=1.0, top1=99.5, top5=99.9)})
    small.write(record.model_copy(update={"metrics": record.metrics.model_copy(update={"val_last": edited})}))
    build_report([small.paths.folder], ("md",))
    (difference,) = check_report([small.paths.folder])
    assert difference.startswith(f"runs/{run.run_id}/record.json: says val top-1 99.5 after its last epoch {EPOCHS}, ")
