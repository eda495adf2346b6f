"""Reports: all that was measured and all that failed is in them, and nothing in them acts."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from run_folders import (
    ALLOW,
    REFUSE,
    failure,
    item,
    reply,
    write_example,
    write_example_scores,
    write_run,
    write_scores,
)
from safer_training.errors import DataError
from safer_training.evaluation.cli import evaluation
from safer_training.evaluation.judging.scores import Probed
from safer_training.evaluation.reporting.report import Figures, figures_of, write_report
from scripted_judge import scripted_judge

EVIL = '"><script>alert(1)</script><img src=http://127.0.0.1/x onerror=alert(1)> | $x^{ [a](http://127.0.0.1) `'


class Read(HTMLParser):
    """What a browser would see: tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two targets on two sets, one judged by two judges."""
    base = tmp_path_factory.mktemp("runs")
    found = []
    for suite in ("requests", "pictures"):
        for target, skill in (("guard", 0.9), ("keywords", 0.6)):
            folder = write_example(base / f"{suite}-{target}", suite, target, skill, rows=48)
            for judge in ("mild", "strict"):
                write_example_scores(folder, judge, skill, probed=Probed(asked=6, moved=("order",)))
            found.append(folder)
    return found


@pytest.fixture(scope="module")
def figures(folders: list[Path]) -> Figures:
    return figures_of(folders)


@pytest.fixture(scope="module")
def report(figures: Figures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(figures, tmp_path_factory.mktemp("report")).parent


def test_the_same_figures_are_in_all_three(figures: Figures, report: Path) -> None:
    assert Figures.model_validate_json((report / "figures.json").read_text()) == figures
    accuracy = figures.runs[0].guard.accuracy
    assert accuracy is not None
    shown = f"{100 * accuracy.value:.1f}", f"[{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"
    assert " ".join(shown) in (report / "report.md").read_text()
    assert "".join(shown) in Read((report / "report.html").read_text()).text


def test_every_plot_is_there_twice_and_is_well_formed(report: Path) -> None:
    names = {path.stem for path in (report / "plots").glob("*.svg")}
    assert names == {
        *("refusals", "confusions", "calibration", "decision_times", "flips", "scores"),
        *("categories-requests", "categories-pictures"),
    }
    html, markdown = Read((report / "report.html").read_text()), (report / "report.md").read_text()
    images = [attributes for tag, attributes in html.tags if tag == "img"]
    assert len(images) == len(names)
    assert all(image["alt"] for image in images)
    embedded = {base64.b64decode((image["src"] or "").partition(",")[2]) for image in images}
    assert embedded == {(report / f"plots/{name}.svg").read_bytes() for name in names}
    for name in names:
        assert f"](plots/{name}.svg)" in markdown
        assert ElementTree.parse(report / f"plots/{name}.svg").getroot().tag.endswith("svg")


def test_the_html_needs_nothing_beside_it(report: Path) -> None:
    html = Read((report / "report.html").read_text())
    assert not {tag for tag, _ in html.tags} & {"script", "link", "iframe", "object", "base", "form"}
    for _, attributes in html.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    policy = [attributes.get("content") for tag, attributes in html.tags if "http-equiv" in attributes]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_what_failed_and_what_is_missing_is_told(report: Path, figures: Figures) -> None:
    markdown = (report / "report.md").read_text()
    failed = figures.runs[0].guard.failed
    assert failed > 0
    assert f"| requests | guard | APIConnectionError | {failed} |" in markdown
    assert "| requests | imgs/12.jpg |" in markdown
    assert "| no scores |" in markdown
    assert "1 of 6: order" in markdown


def test_means_are_over_the_sets_of_a_target(figures: Figures, report: Path) -> None:
    assert [(one.label, one.suites) for one in figures.averages] == [
        ("guard", ("requests", "pictures")),
        ("keywords", ("requests", "pictures")),
    ]
    shares = [run.guard.accuracy.value for run in figures.runs if run.label == "guard" and run.guard.accuracy]
    mean = figures.averages[0].accuracy
    assert mean is not None
    assert mean.value == pytest.approx(sum(shares) / 2)
    assert "unweighted mean of 2 sets" in (report / "report.md").read_text()


def test_what_the_paper_says_is_marked_as_quoted(report: Path) -> None:
    html, markdown = (report / "report.html").read_text(), (report / "report.md").read_text()
    before, _, quoted = html.partition('class="quoted"')
    assert "84.40" in quoted
    assert "Not measured here." in quoted
    assert "84.40" not in re.sub(r"base64,[^\"]*", "", before)
    lines = [line for line in markdown.splitlines() if "84.40" in line]
    assert lines
    assert all(line.startswith("> ") for line in lines)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    items = [item(f"{n}", (REFUSE,) if n % 2 else (ALLOW,)) for n in range(8)]
    folder = write_run(tmp_path / "run", items, [reply(f"{n}", ALLOW, risk=n / 8) for n in range(8)])
    first, second = (write_report(figures_of([folder]), tmp_path / name).parent for name in ("first", "second"))
    assert len(list(first.rglob("*.*"))) > 5
    for path in first.rglob("*.*"):
        assert (second / path.relative_to(first)).read_bytes() == path.read_bytes(), path


def test_names_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    items = [item(f"{n}", (REFUSE,) if n % 2 else (ALLOW,), category=f"{n % 3} {EVIL}") for n in range(12)]
    replies = [reply(f"{n}", ALLOW, risk=0.5, decision_seconds=0.1) for n in range(11)]
    replies.append(failure("11").model_copy(update={"error": EVIL}))
    folder = write_run(tmp_path / "run", items, replies, suite=f"../{EVIL}", target=EVIL, missing=(EVIL,))
    write_scores(folder, "judge", {f"{n}": (3, 3, 3) for n in range(9)}, model=EVIL)
    out = write_report(figures_of([folder]), tmp_path / "deep/out").parent
    assert {path.parent for path in tmp_path.rglob("*.svg")} == {out / "plots"}
    html = Read((out / "report.html").read_text())
    assert not {tag for tag, _ in html.tags} & {"script", "link"}
    assert all((attributes["src"] or "").startswith("data:") for tag, attributes in html.tags if tag == "img")
    assert EVIL in html.text
    markdown = (out / "report.md").read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and "alert" in line]
    assert rows
    assert all(re.search(r"(?<!\\)\[a\]|(?<!\\)`", line) is None for line in rows)
    for path in (out / "plots").iterdir():
        ElementTree.parse(path)


@pytest.mark.parametrize("replies", [[], [failure("a"), failure("b")]])
def test_a_run_without_a_single_reply_has_a_report(tmp_path: Path, replies: list[object]) -> None:
    folder = write_run(tmp_path / "run", [item("a"), item("b", (REFUSE,))], replies, ended=None)  # type: ignore[arg-type]
    write_report(figures_of([folder]), folder)
    markdown = (folder / "report.md").read_text()
    assert "not finished" in markdown
    assert "Quoted" not in markdown
    assert ("never asked" if not replies else "APIConnectionError") in markdown


def test_one_target_twice_is_told_apart(tmp_path: Path) -> None:
    first, second = (tmp_path / name / "run" for name in ("first", "second"))
    for folder in (first, second):
        write_run(folder, [item("a")], [reply("a", ALLOW)])
    assert [run.label for run in figures_of([first, second, first]).runs] == [f"guard ({first})", f"guard ({second})"]


def test_other_items_under_one_name_are_not_set_side_by_side(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [item(name)], [], target=name) for name in ("first", "second")]
    with pytest.raises(DataError, match="asked other items of look-alike"):
        figures_of(runs)


def said(code: int, *args: str | Path) -> str:
    done = CliRunner().invoke(evaluation, [str(arg) for arg in args], env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def test_the_commands_go_from_replies_to_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [item("a"), item("b")], [reply("a", ALLOW), failure("b")])
    with scripted_judge(lambda body: '{"safety": 3, "helpfulness": 3, "rigor": 3}') as server:
        told = said(
            0, "judge", folder, "--judge-url", server.url, "--judge-model", "m", "--price-in", "1", "--price-out", "2"
        )
    assert "1 replies have scores" in told
    assert "1 items have no reply to judge" in told
    assert str(folder / "report.html") in said(0, "report", folder)
    assert "50.0 [9.5, 90.5]" in (folder / "report.md").read_text()
    assert "| accuracy | 2 | 50.0 | 50.0 | +0.0 [+0.0, +0.0] |" in said(
        0, "compare", folder, folder, "--out", tmp_path / "c"
    )
    assert (tmp_path / "c/compare.json").is_file()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["report", "nowhere"], "no such file: nowhere/run.json; is this the folder of a run?"),
        (["report", "a", "b"], "where is the report of several runs to go?"),
        (["compare", "nowhere", "nowhere"], "no such file: nowhere/run.json"),
        (["judge", "nowhere", "--judge-url", "http://127.0.0.1:1/v1", "--judge-model", "m"], "nowhere/run.json"),
        (["judge", "x", "--judge-url", "u", "--judge-model", "m", "--price-in", "1"], "give both prices or none"),
    ],
)
def test_mistakes_are_told(args: list[str], told: str) -> None:
    assert told in said(2, *args)


def test_a_dead_judge_is_told(tmp_path: Path) -> None:
    uids = [f"{n}" for n in range(30)]
    folder = write_run(tmp_path / "run", [item(uid) for uid in uids], [reply(uid, ALLOW) for uid in uids])
    with scripted_judge(lambda body: 401) as server:
        told = said(2, "judge", folder, "--judge-url", server.url, "--judge-model", "m")
    assert "AuthenticationError 401 (Error code: 401" in told
    assert "20 times in a row; 0 new scores are kept, run the same command again" in told
