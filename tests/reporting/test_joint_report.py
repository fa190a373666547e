"""One report of several experiments."""

import csv
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from sasa_cli.cli.app import app
from sasa_cli.errors import SpecError
from sasa_cli.reporting.evidence.cells import HEADLINE
from sasa_cli.reporting.evidence.material import Material, united
from sasa_cli.reporting.evidence.results import read_results
from sasa_cli.reporting.pages.caveats import caveats
from sasa_cli.reporting.report import FORMATS, build_report, check_report, report_files
from sasa_cli.runs.files import make_folder, write_text
from sasa_cli.runs.paths import ExperimentPaths

from .conftest import Maker
from .results_folder import EXTENT, STAGES, Experiment
from .test_report import tree

LATE, EARLY, CONVOLUTION = {STAGES: "CCAA", EXTENT: 3}, {STAGES: "AACC", EXTENT: 3}, {STAGES: "CCCC"}


def finish(experiment: Experiment, **top1: float) -> None:
    experiment.write_plan()
    for run in experiment.runs:
        mean = top1[run.label.rpartition("-")[2]]
        # Seeds scatter differently in each cell, so that differences vary.
        experiment.finish(run, mean + 0.1 * run.seed * len(run.label) ** (run.label[-1] == "A"))


@pytest.fixture
def two(make_experiment: Maker) -> tuple[Experiment, Experiment]:
    """Late and early attention in two experiments, which share the cell of convolutions."""
    late = make_experiment([CONVOLUTION, LATE], seeds=[0, 1, 2], name="late")
    early = make_experiment([CONVOLUTION, EARLY], seeds=[0, 1, 2], name="early")
    finish(late, CCCC=78.0, CCAA=80.0)
    finish(early, CCCC=78.0, AACC=70.0)
    return late, early


def material(*experiments: Experiment) -> Material:
    return united([(f"../{each.name}", read_results(each.paths)) for each in experiments])


def read(folder: Path, name: str) -> str:
    return (folder / "report" / name).read_text(encoding="utf-8")


def test_findings_are_over_the_cells_of_all(two: tuple[Experiment, Experiment]) -> None:
    root = two[0].paths.folder.parent
    build_report([root], ["md", "csv"])
    rows = {row["claim"]: row for row in csv.DictReader(read(root, "tables/pairs.csv").splitlines())}
    assert rows["late-over-early"]["says"] == "for"
    assert (rows["late-over-early"]["first"], rows["late-over-early"]["n"]) == ("k3-CCAA", "3")
    own = {row["claim"]: row for row in csv.DictReader(read(two[0].paths.folder, "tables/verdicts.csv").splitlines())}
    assert own["late-over-early"]["verdict"] == "not tested"


def test_each_experiment_has_its_tables_of_accuracy_and_differences(two: tuple[Experiment, Experiment]) -> None:
    root = two[0].paths.folder.parent
    build_report([two[1].paths.folder, two[0].paths.folder], ["md"])
    text = read(root, "report.md")
    for name in ("early", "late"):
        assert f"**{name}. Top-1 accuracy (%)" in text
        assert f"**{name}. Against the reference, CCCC" in text
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections == [
        *("Verdicts", "Caveats", "Experiments", "Accuracy", "Differences", "Cost", "Measured against the paper"),
        *("Runs", "Setup", "How to read the numbers"),
    ]
    assert "[late](../late/report/)" in text


def test_every_link_leads_to_a_place_on_disk(two: tuple[Experiment, Experiment], tmp_path: Path) -> None:
    out = tmp_path / "else where"
    build_report([two[0].paths.folder.parent], ["md", "html"], out=out)
    for text, pattern in ((read(out, "report.md"), r"\]\(([^)]+)\)"), (read(out, "report.html"), r'href="([^"#]+)"')):
        links = set(re.findall(pattern, text))
        assert len(links) >= 9 + 2  # runs of late, the one other cell of early, both reports
        assert [link for link in links if not (out / "report" / unquote(link)).exists()] == []


def test_a_run_of_two_experiments_counts_once(two: tuple[Experiment, Experiment]) -> None:
    found = material(*two)
    assert [cell.label for cell in found.cells] == ["CCCC", "k3-CCAA", "k3-AACC"]
    assert [cell.experiment for cell in found.cells] == ["late", "late", "early"]
    assert len(found.cells[0].records) == 3
    assert (found.doubled, found.deviating) == (3, 0)
    assert "3 runs stand in several experiments and count once." in caveats(found)


def test_equal_runs_with_other_numbers_are_told(two: tuple[Experiment, Experiment]) -> None:
    two[1].finish(two[1].run("CCCC", 1), 50.0)
    found = material(*two)
    assert (found.doubled, found.deviating) == (3, 1)
    measure = found.cells[0].top1(HEADLINE)
    assert measure is not None
    assert measure.low > 70
    assert any(sentence.startswith("1 of them have another accuracy") for sentence in caveats(found))


def test_an_unfinished_run_gives_way_to_a_finished_one(two: tuple[Experiment, Experiment]) -> None:
    two[0].fail(two[0].run("CCCC", 1))
    found = material(*two)
    assert [run.status for run in found.cells[0].runs] == ["done"] * 3
    assert found.doubled == 2


def test_runs_of_another_machine_are_cells_of_their_own(two: tuple[Experiment, Experiment]) -> None:
    for run in two[1].runs:
        two[1].finish(run, 78.0 + run.seed, device="cuda")
    found = material(*two)
    assert [cell.label for cell in found.cells] == [
        *("CCCC [device cpu]", "CCCC [device cuda]", "k3-CCAA", "k3-AACC"),
    ]
    assert found.doubled == 0


def test_cells_of_one_label_are_told_apart_by_experiment(make_experiment: Maker) -> None:
    experiments = [make_experiment([{STAGES: "AAAA"}], seeds=[0], name=name) for name in ("one", "two")]
    for experiment in experiments:
        run = experiment.runs[0].model_copy(update={"cell_hash": experiment.name, "run_id": experiment.name})
        experiment.finish(run, 80.0)
    assert [cell.label for cell in material(*experiments).cells] == ["AAAA (one)", "AAAA (two)"]


def test_two_builds_are_equal_byte_for_byte(
    two: tuple[Experiment, Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report_files(material(*two), FORMATS) == report_files(material(*two), FORMATS)
    root = two[0].paths.folder.parent
    build_report([root], ["csv", "tex"])
    first = tree(root / "report")
    monkeypatch.chdir(root)
    build_report([Path("late"), Path("early")], ["csv", "tex"])
    assert tree(root / "report") == first


def test_every_difference_is_the_same_in_every_format(two: tuple[Experiment, Experiment]) -> None:
    files = {name: content.decode() for name, content in report_files(material(*two), FORMATS).items()}
    rows = list(csv.DictReader(files["tables/differences.csv"].splitlines()))
    rows += list(csv.DictReader(files["tables/pairs.csv"].splitlines()))
    rows = [row for row in rows if row["half_width"]]
    assert {row.get("claim") for row in rows} == {None, "late-over-early"}
    for row in rows:
        mean, half_width = f"{float(row['difference']):+.2f}".replace("-", "−"), f"{float(row['half_width']):.2f}"
        assert f"{mean} ± {half_width}" in files["report.md"]
        assert (
            f'<span class="mean">{mean}</span> ± <span class="half-width">{half_width}</span>' in files["report.html"]
        )
        latex = files["tables/pairs.tex" if "claim" in row else "tables/differences.tex"]
        assert f"{mean} ± {half_width}".replace("−", "$-$").replace("±", r"$\pm$") in latex


def test_a_check_covers_the_joint_report(two: tuple[Experiment, Experiment]) -> None:
    root = two[0].paths.folder.parent
    build_report([root], ["csv"])
    assert check_report([root]) == []
    file = root / "report" / "tables" / "verdicts.csv"
    write_text(file, file.read_text(encoding="utf-8").replace(",supported,", ",contradicted,", 1))
    assert check_report([root]) == [f"{file}: late-over-early, verdict: says contradicted, the results give supported"]
    shutil.rmtree(root / "report")
    assert check_report([root]) == [f"{root / 'report'}: no report here; `sasa report {root}` builds it"]
    elsewhere = root / "other"
    arguments = f"{root} --out {elsewhere}"
    assert check_report([root], out=elsewhere) == [
        f"{elsewhere / 'report'}: no report here; `sasa report {arguments}` builds it"
    ]
    build_report([root], ["csv"], out=elsewhere)
    assert check_report([root], out=elsewhere) == []


def test_the_command_writes_and_checks_it(two: tuple[Experiment, Experiment], tmp_path: Path) -> None:
    runner = CliRunner()
    folders = [str(each.paths.folder) for each in two]
    arguments = ["report", *folders, "--out", str(tmp_path / "joint"), "--format", "csv"]
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    paths = json.loads(done.stdout)["paths"]
    assert str(tmp_path / "joint" / "report" / "tables" / "pairs.csv") in paths
    assert runner.invoke(app, [*arguments, "--check"]).exit_code == 0
    (tmp_path / "joint" / "report" / "tables" / "runs.csv").unlink()
    failed = runner.invoke(app, [*arguments, "--check"])
    assert (failed.exit_code, "runs.csv: missing" in failed.stderr) == (1, True)
    alone = runner.invoke(app, ["report", folders[0], "--out", str(tmp_path)])
    assert (alone.exit_code, "of several experiments" in alone.stderr) == (2, True)


def test_where_the_joint_report_cannot_go(two: tuple[Experiment, Experiment], make_experiment: Maker) -> None:
    late, early = (each.paths.folder for each in two)
    with pytest.raises(SpecError, match=r"--out x: a joint report is of several experiments; here is one"):
        build_report([late], out=Path("x"))
    with pytest.raises(SpecError, match="belongs to the experiment"):
        build_report([late, early], out=late)
    unlucky = make_experiment([LATE], seeds=[0], name="report")
    unlucky.write_plan()
    with pytest.raises(SpecError, match="belongs to the experiment"):
        check_report([late.parent])


def test_problems_name_their_experiment(two: tuple[Experiment, Experiment]) -> None:
    torn = ExperimentPaths(two[1].paths.folder).run("torn")
    make_folder(torn.folder)
    write_text(torn.record, "{")
    (problem,) = material(*two).problems
    assert problem.path == "early/runs/torn/record.json"
    assert problem.url == "../early/runs/torn/"
