"""The commands scan, show, export and plot, from a file to a picture, in this process and on workers."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from sdetheory import cli, scan
from sdetheory.scan import examples
from sdetheory.scan.plot import draw_curves, plot
from sdetheory.scan.report import open_report

GRID = """
[scan]
name = "waves"
experiment = "scan_functions:wave"
seeds = 2
says = "a sum with noise"
[axes.x]
log = [0.1, 10, 3]
[axes.n]
values = [1, 2]
"""
MOODY = """
[scan]
experiment = "scan_functions:moody"
[axes.x]
values = [1, 2]
[axes.mood]
values = ["well", "fails", "diverges", "nan"]
"""


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A folder with grid.toml and moody.toml, as current folder."""
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "moody.toml").write_text(MOODY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command: exit status, what it printed, what it complained."""

    def call(*arguments):
        status = cli.main([str(one) for one in arguments])
        return (status, *capsys.readouterr())

    return call


def test_a_file_is_run_shown_exported_and_drawn(there, run):
    status, out, err = run("scan", "grid.toml", "--store", "waves", "--serial")
    assert status == 0 and "12 points computed" in out and "ok 12, diverged 0, failed 0, missing 0" in out, (out, err)
    status, out, err = run("scan", "grid.toml", "--store", "waves", "--serial")
    assert status == 0 and "0 points computed" in out, (out, err)
    status, out, _ = run("show", "waves")
    rows = [line.split() for line in out.splitlines()]
    assert status == 0 and out.startswith("waves: scan_functions:wave, 12 points in 6 groups\n  a sum with noise"), out
    assert ["x", "n", "y", "predicted", "ratio", "verdict"] in rows and ["0.1", "1"] == rows[5][:2], out
    assert sum(row[-1:] == ["agrees"] for row in rows) == 6 and "6 agrees (each at false-alarm rate 1e-06" in out, out
    assert run("export", "waves")[:2] == (0, "waves.csv: 12 points\n")
    with open("waves.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 12 and {row["status"] for row in table} == {"ok"}
    for row in table:
        y, law = float(row["measured.y"]), float(row["x"]) * int(row["n"])
        assert float(row["predicted.y"]) == law and float(row["ratio.y"]) == y / law and abs(y - law) < 0.01, row
    status, out, _ = run("plot", "waves")
    assert status == 0 and out.strip() == "waves.png" and (there / "waves.png").stat().st_size > 10_000


def test_show_speaks_to_programs_and_names_what_was_measured(there, run):
    run("scan", "grid.toml", "--store", "waves", "--serial")
    groups = json.loads(run("show", "waves", "--json")[1])
    assert len(groups) == 6 and groups[0]["parameters"]["kind"] == "plain"
    assert groups[0]["found"]["y"]["predicted"] == pytest.approx(0.1) and groups[0]["seeds"]["ok"] == 2
    assert "also measured: z" in run("show", "waves")[1]
    assert "predicted" not in run("show", "waves", "--observable", "z")[1]
    assert run("show", "waves", "--observable", "zz")[::2] == (
        2, "sdetheory show: the store has no observable 'zz'; did you mean 'z'?\n")  # fmt: skip


def test_a_dry_run_counts_times_and_runs_nothing(there, run):
    status, out, _ = run("scan", "grid.toml", "--dry-run", "--store", "waves", "--workers", "2")
    assert status == 0 and "x 3 x n 2, 2 seeds: 12 points" in out and "due: 12" in out, out
    assert "on 2 workers (from a pilot of" in out and "disk: about" in out and not (there / "waves").exists(), out
    status, out, _ = run("scan", "effective_lr", "--dry-run")
    assert status == 0 and "63 points" in out and "by the experiment's own estimate" in out, out


def test_why_says_for_every_group_what_is_due(there, run):
    assert run("scan", "grid.toml", "--why")[1].count("2 never computed") == 6
    run("scan", "grid.toml", "--store", "waves", "--serial")
    out = run("scan", "grid.toml", "--store", "waves", "--why")[1]
    assert "due: 0; 12 already in waves" in out and "nothing is due" in out, out
    (there / "grid.toml").write_text(GRID.replace("3]", "5]").replace("seeds = 2", "seeds = 3"))
    out = run("scan", "grid.toml", "--store", "waves", "--why")[1]
    assert "due: 18; 12 already in waves" in out and "from 12 stored points" in out, out
    assert out.count("1 never computed") == 6 and out.count("3 never computed") == 4, out
    assert "18 points computed" in run("scan", "grid.toml", "--store", "waves", "--serial")[1]
    assert "12 points" not in run("show", "waves")[1] and "30 points in 10 groups" in run("show", "waves")[1]


def test_what_fails_and_what_diverges_is_told_apart_and_can_be_retried(there, run):
    status, out, _ = run("scan", "moody.toml", "--store", "moods", "--serial")
    assert status == 1 and "ok 4, diverged 2, failed 2, missing 0" in out, out
    assert "failed: x=1, mood=fails, seed 0: ArithmeticError: no luck at 1.0" in out, out
    assert "diverged: x=2, mood=diverges, seed 0: state became non-finite at t=2.5, step 10" in out, out
    out = run("show", "moods", "--failures")[1]
    assert 'raise ArithmeticError(f"no luck at {x}")' in out and "nan" in out, out
    for kinds, reasons in (("failed", 2), ("failed,diverged", 4)):
        out = run("scan", "moody.toml", "--store", "moods", "--why", "--retry", kinds)[1]
        assert out.count("to be tried again") == reasons, out
    assert "2 points computed" in run("scan", "moody.toml", "--store", "moods", "--retry", "failed", "--serial")[1]
    run("export", "moods", "--out", "m.csv")
    with open("m.csv", encoding="utf-8") as file:
        cells = {(row["mood"], row["status"], row["measured.y"]) for row in csv.DictReader(file) if row["x"] == "1.0"}
    assert cells == {("well", "ok", "1.0"), ("fails", "failed", ""), ("diverges", "diverged", ""), ("nan", "ok", "nan")}
    assert run("scan", "moody.toml", "--store", "fast", "--serial", "--fail-fast")[0] == 1
    assert run("plot", "moods", "--x", "x")[0] == 0, "groups without a result leave a gap"


REFUSALS = {
    ("scan",): "name a FILE.toml",
    ("scan", "grid.toml"): "name a folder for the results: --store DIR",
    ("scan", "grd.toml", "--store", "s"): "no file 'grd.toml'; there are grid.toml, moody.toml",
    ("scan", ".", "--store", "s"): "cannot read '.': Is a directory",
    ("scan", "efective_lr", "--store", "s"): "no example scan 'efective_lr'; did you mean 'effective_lr'",
    ("scan", "grid.toml", "--store", "s", "--retry", "fialed"): "did you mean 'failed'",
    ("scan", "grid.toml", "--store", "s", "--serial", "--workers", "2"): "`--serial` excludes",
    ("scan", "grid.toml", "--store", "s", "--workers", "0"): "`workers` must be at least 1",
    ("scan", "--experiments", "efective_lr"): "did you mean 'effective_lr'",
    ("show", "nowhere"): "no store 'nowhere'",
    ("show", "."): "'.' is not a store",
    ("plot", "waves", "--at", "x"): "--at is NAME=VALUE",
    ("plot", "waves", "--at", "m=3"): "no axis 'm'",
    ("plot", "waves", "--at", "n=3"): "no group has n=3; there are n: 1, 2",
    ("plot", "waves", "--x", "xx"): "no axis 'xx'; did you mean 'x'",
    ("plot", "waves", "--out", "w.jpeg"): "--out must end in .png, .pdf or .svg",
    ("export", "waves", "--out", "no/folder.csv"): "cannot write no/folder.csv: No such file",
    ("plot", "waves", "--out", "no/folder.png"): "cannot write no/folder.png: No such file",
}


@pytest.mark.parametrize("command", REFUSALS, ids=" ".join)
def test_wrong_input_ends_with_status_2_and_says_what_to_do(command, there, run):
    if "waves" in command:
        run("scan", "grid.toml", "--store", "waves", "--serial")
    status, out, err = run(*command)
    assert status == 2 and REFUSALS[command] in err and err.startswith(f"sdetheory {command[0]}: "), (status, out, err)
    assert not (there / "s").exists(), "something ran"


def test_a_file_where_the_store_should_be_is_refused_with_status_3(there, run):
    for store in ("moody.toml", "moody.toml/inside"):
        status, _, err = run("scan", "grid.toml", "--store", store, "--serial")
        assert status == 3 and f"cannot write `{store}`: Not a directory" in err, (status, err)


def test_another_root_seed_or_other_code_is_refused_with_status_3(there, run):
    (there / "mine_for_refusal.py").write_text("def f(x: float):\n    return {'y': x}\n")
    (there / "mine.toml").write_text('[scan]\nexperiment = "mine_for_refusal:f"\n[axes.x]\nvalues = [1, 2]\n')
    assert run("scan", "mine.toml", "--store", "mine", "--serial")[0] == 0
    (there / "mine_for_refusal.py").write_text("def f(x: float):\n    return {'y': 2 * x}\n")
    status, _, err = run("scan", "mine.toml", "--store", "mine", "--serial")
    assert status == 3 and "changed: mine_for_refusal" in err and "keep" in err, err
    out = run("scan", "mine.toml", "--store", "mine", "--dry-run")[1]
    assert "the code changed since" in out and "--changed" in out, out
    assert "due: 2" in run("scan", "mine.toml", "--store", "mine", "--dry-run", "--changed", "recompute")[1]
    text = (there / "mine.toml").read_text().replace("[scan]", "[scan]\nroot_seed = 5")
    (there / "mine.toml").write_text(text)
    assert run("scan", "mine.toml", "--store", "mine", "--serial", "--changed", "keep")[0] == 3
    assert run("scan", "mine.toml", "--store", "mine", "--dry-run")[0] == 2


def test_arrays_without_pickle_lists_and_missing_values(there, run):
    run("scan", "moody.toml", "--store", "moods", "--serial")
    run("export", "moods", "--to", "npz")
    with np.load("moods.npz", allow_pickle=False) as data:
        assert data["measured.y"].dtype == float and data["measured.path"].shape == (8, 2)
        well = data["mood"] == "well"
        np.testing.assert_array_equal(data["measured.path"][well], [[1, 2], [2, 4]])
        assert np.isnan(data["measured.path"][data["status"] == "failed"]).all() and data["seed"].dtype == np.int64


@pytest.mark.parametrize("kind", ["parquet", "netcdf"])
def test_labelled_output_needs_its_packages_and_says_so(kind, there, run, monkeypatch):
    run("scan", "grid.toml", "--store", "waves", "--serial")
    package = {"parquet": "pyarrow", "netcdf": "xarray"}[kind]
    monkeypatch.setitem(sys.modules, package, None)
    status, _, err = run("export", "waves", "--to", kind)
    assert status == 2 and f"needs the package {package}: pip install 'sdetheory[data]'" in err, err


def test_netcdf_has_the_axes_of_the_scan_as_dimensions(there, run):
    xarray = pytest.importorskip("xarray")
    run("scan", "grid.toml", "--store", "waves", "--serial")
    assert run("export", "waves", "--to", "netcdf")[0] == 0
    with xarray.open_dataset("waves.nc") as data:
        assert dict(data.sizes) == {"x": 3, "n": 2, "seed": 2} and data.attrs["kind"] == "plain"
        assert abs(float(data["measured.y"].sel(x=10, n=2).mean()) - 20) < 0.01


def test_parquet_has_a_row_a_point(there, run):
    parquet = pytest.importorskip("pyarrow.parquet")
    run("scan", "grid.toml", "--store", "waves", "--serial")
    assert run("export", "waves", "--to", "parquet")[0] == 0
    assert parquet.read_table("waves.parquet").num_rows == 12


def test_pictures_are_the_same_bytes_twice_and_differ_by_what_is_drawn(there, run):
    (there / "grid.toml").write_text(GRID.replace("[1, 2]", "[1, 2, 3]"))
    run("scan", "grid.toml", "--store", "waves", "--serial")
    found = open_report("waves")
    options = {"map": {}, "again": {}, "curves": {"curves": True}, "fixed": {"at": {"n": "2"}}}
    pages = {name: plot(found, there / f"{name}.png", **given).read_bytes() for name, given in options.items()}
    assert pages["map"] == pages["again"] and len(set(pages.values())) == 3
    for kind in ("pdf", "svg"):
        assert plot(found, there / f"z.{kind}", at={"n": "1"}, observable="z").stat().st_size > 1000


def test_points_and_dashed_lines_are_the_means_and_the_predictions(there, run):
    run("scan", "grid.toml", "--store", "waves", "--serial")
    found, axes = open_report("waves"), Figure().subplots()
    draw_curves(axes, found, found.groups, "y", "x", "n")
    drawn = [line.get_xydata() for line in axes.get_lines() if len(line.get_xydata()) == 3]
    for n in (1, 2):
        mine = [g for g in found.groups if g.parameters["n"] == n]
        for which in ("mean", "predicted"):
            rows = [(g.parameters["x"], getattr(g.found("y"), which)) for g in mine]
            assert any(np.array_equal(line, rows) for line in drawn), (n, which, rows, drawn)
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_experiments_and_examples_explain_themselves(run):
    status, out, _ = run("scan", "--experiments")
    assert status == 0 and all(name in out for name in ("simulate", "effective_lr", "fast_equilibrium")), out
    out = run("scan", "--experiments", "effective_lr")[1]
    assert "weight_decay           weight decay [loss/w^2] (positive; required)" in out and "|w|^4/lr^2" in out, out
    out = run("scan", "--examples")[1]
    for name in examples.names():
        assert name in out and run("scan", "--examples", name)[1].rstrip() == examples.shown(name)
        assert len(scan.Scan.from_toml(examples.path(name))) > 5


def test_help_teaches_with_an_example_that_runs(there, run):
    text = subprocess.run([sys.executable, "-m", "sdetheory.cli", "scan", "--help"], capture_output=True, text=True,
                          check=True, env={"PYTHONPATH": ":".join(sys.path), "COLUMNS": "120"}).stdout  # fmt: skip
    example = text.split("example (grid.toml):")[1].split("  sdetheory scan")[0]
    (there / "help.toml").write_text("\n".join(line[2:] for line in example.splitlines()))
    status, out, err = run("scan", "help.toml", "--dry-run")
    assert status == 0 and "lr 9 x weight_decay 3, 3 seeds: 81 points" in out, (out, err)
    assert "exit status: 0" in text and "--scheduler ADDRESS" in text
