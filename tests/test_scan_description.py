"""Scans described in TOML and Python: round trips, what a point is, and refusals before anything runs."""

import itertools
import json
import string
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdetheory import scan
from sdetheory.scan.axes import Axis, axis, combinations

WAVE = "scan_functions:wave"
KINDS = ("plain", "square", 'with "quotes" and \\', "x\n\t\x7fy")

numbers = st.floats(-1e6, 1e6).map(lambda x: float(f"{x:.6g}") + 0.0)
wholes = st.integers(-(10**6), 10**6)


@st.composite
def axes(draw, name):
    """An axis of the parameter x, n or kind."""
    if name == "kind":
        return Axis("values", tuple(draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True))))
    if name == "n":
        return Axis("values", tuple(draw(st.lists(wholes, min_size=1, max_size=3, unique=True))))
    shape = draw(st.sampled_from(["values", "linear", "log"]))
    if shape == "values":
        return Axis("values", tuple(draw(st.lists(numbers, min_size=1, max_size=3, unique=True))))
    first, ratio, count = draw(st.floats(1e-3, 1e3)), draw(st.floats(1.5, 1e3)), draw(st.integers(2, 4))
    first = float(f"{first:.6g}")
    return Axis(shape, (first, first * ratio, count))


@st.composite
def scans(draw):
    """Scans of `wave`: every parameter fixed, an axis, or left to its default; further points; seeds."""
    fixed, grid = {}, {}
    for name, value in draw(st.permutations([("x", numbers), ("n", wholes), ("kind", st.sampled_from(KINDS))])):
        where = draw(st.sampled_from(["axis", "fixed"] if name == "x" else ["axis", "fixed", "default"]))
        if where == "axis":
            grid[name] = draw(axes(name))
        elif where == "fixed":
            fixed[name] = draw(value)
    points = draw(st.lists(st.fixed_dictionaries({"x": numbers}, optional={"shift": numbers}), max_size=2))
    seeds = draw(st.integers(1, 3) | st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
    record = draw(st.sampled_from([None, ["y"], ["z", "y"]]))
    return scan.Scan(WAVE, fixed, grid, points, seeds, draw(st.integers(0, 99)), record, "n", 'say "it"')


def ids(described):
    """Identities of the points, in order."""
    return [point.id for point in described.points()]


@given(scans())
def test_toml_and_python_describe_the_same_scan(described):
    text = described.to_toml()
    read = scan.Scan.from_dict(tomllib.loads(text))
    assert read.to_dict() == described.to_dict(), text
    assert ids(read) == ids(described), text
    assert read.digest == described.digest and read.to_toml() == text


@given(scans(), st.randoms(use_true_random=False))
def test_points_do_not_depend_on_the_order_in_which_things_are_written(described, chance):
    tables = described.to_dict()
    for section in ("parameters", "axes"):
        pairs = list(tables.get(section, {}).items())
        chance.shuffle(pairs)
        tables[section] = dict(pairs)
    chance.shuffle(tables.get("points", []))
    other = scan.Scan.from_dict(tables)
    assert sorted(ids(other)) == sorted(ids(described)), described.to_toml()


@given(scans(), numbers)
def test_an_extended_scan_has_all_points_it_had(described, extra):
    tables = json.loads(json.dumps(described.to_dict()))
    before = set(ids(described))
    if "values" in tables.get("axes", {}).get("x", {}) and extra not in tables["axes"]["x"]["values"]:
        tables["axes"]["x"]["values"].insert(0, extra)
    tables.setdefault("points", []).append({"x": extra, "shift": 7.0})
    tables["scan"]["seeds"] = sorted({*described.seed_indices, 11})
    after = set(ids(scan.Scan.from_dict(tables)))
    grid_kept = "x" in described.axes or "points" in described.to_dict() or len(described.axes) > 0
    if grid_kept:
        assert before <= after, described.to_toml()


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e6), st.integers(2, 30), st.integers(2, 4))
def test_a_finer_grid_contains_the_coarse_one(first, ratio, count, factor):
    for make in (scan.linear, scan.log):
        coarse = make(first, first * ratio, count).values
        fine = make(first, first * ratio, (count - 1) * factor + 1).values
        assert fine[::factor] == coarse, (make, first, ratio)


def test_a_longer_grid_contains_the_short_one():
    assert set(scan.log(0.01, 1, 9).values) < set(scan.log(0.01, 100, 17).values)
    assert set(scan.linear(0, 1, 11).values) < set(scan.linear(0, 3, 31).values)
    assert scan.linear(0, 1, 11).values[3] == 0.3


def test_the_last_axis_is_fastest_and_zipped_axes_advance_together():
    described = scan.Scan(WAVE, {}, {"x": scan.values(1.0, 2.0, zip="a"), "kind": scan.values("plain", "square"),
                                     "n": scan.values(5, 6, zip="a")}, seeds=2)  # fmt: skip
    found = [(p.parameters["x"], p.parameters["n"], p.parameters["kind"], p.seed) for p in described.points()]
    expected = [(x, n, k, s) for (x, n), k, s in itertools.product([(1, 5), (2, 6)], ["plain", "square"], [0, 1])]
    assert found == expected and len(described) == 8
    assert list(combinations({})) == [{}]


def test_a_point_given_twice_is_one_point_and_an_integer_is_a_float_where_one_is_wanted():
    points = [{"x": 1.0}, {"x": 1, "n": 1}, {"x": 3, "n": 2}]
    both = scan.Scan(WAVE, {}, {"x": scan.values(1, 2.5)}, points)
    assert [g["x"] for g in both.groups] == [1.0, 2.5, 3.0], both.groups
    assert ids(scan.Scan(WAVE, {"x": 1})) == ids(scan.Scan(WAVE, {"x": 1.0}))
    assert len({*ids(scan.Scan(WAVE, {"x": 1})), *ids(scan.Scan(WAVE, {"x": 1}, record=["y"]))}) == 2
    assert ids(scan.Scan(WAVE, {"x": 1})) == ids(scan.Scan(WAVE, {"x": 1}, record=["z", "y"]))


HEAD = f'[scan]\nexperiment = "{WAVE}"\n'
REFUSED = {
    "not TOML": ("[scan\n", "not TOML"),
    "no experiment": ("[scan]\nseeds = 2\n", r"\[scan\] needs `experiment`"),
    "section": (HEAD + "[axis.x]\nvalues = [1]\n", "no section 'axis'; did you mean 'axes'"),
    "key": (HEAD + "seed = 3\n", r"\[scan\] has no key 'seed'; did you mean 'seeds'"),
    "experiment": ('[scan]\nexperiment = "efective_lr"\n', "no experiment 'efective_lr'; did you mean 'effective_lr'"),
    "module": ('[scan]\nexperiment = "scan_functionz:wave"\n', "no module named 'scan_functionz'"),
    "function": ('[scan]\nexperiment = "scan_functions:wav"\n', "no object 'wav'; did you mean 'wave'"),
    "no function": ('[scan]\nexperiment = "scan_functions:NUMBER"\n', "must be a function or an experiment"),
    "loose": ('[scan]\nexperiment = "scan_functions:loose"\n', "must name its parameters"),
    "parameter": (HEAD + "[parameters]\nx = 1\nkid = 'a'\n", r"\[parameters\] kid: .*no parameter 'kid'.*'kind'"),
    "axis name": (HEAD + "[axes.xx]\nvalues = [1]\n", r"\[axes.xx\]: .*no parameter 'xx'; did you mean 'x'"),
    "point name": (HEAD + "[[points]]\nx = 1\nm = 2\n", r"\[\[points\]\] m: .*no parameter 'm'"),
    "missing": (HEAD, "needs `x`"),
    "both": (HEAD + "[parameters]\nx = 1\n[axes.x]\nvalues = [2]\n", "either fixed or an axis"),
    "kind": (HEAD + "[parameters]\nx = 'a'\n", r"\[parameters\] x: `x` must be a real number: x='a'"),
    "true": (HEAD + "[parameters]\nx = true\n", "`x` must be a real number"),
    "nan": (HEAD + "[parameters]\nx = nan\n", "`x` must be finite"),
    "integer": (HEAD + "[parameters]\nx = 1\n[axes.n]\nlinear = [1, 2, 3]\n", r"\[axes.n\]: `n` must be an integer"),
    "text": (HEAD + "[parameters]\nx = 1\nkind = 3\n", "`kind` must be a text"),
    "no shape": (HEAD + "[axes.x]\nzip = 'a'\n", r"\[axes.x\]: an axis must have exactly one of"),
    "two shapes": (HEAD + "[axes.x]\nvalues = [1]\nlog = [1, 2, 3]\n", r"exactly one of .* values, log"),
    "axis key": (HEAD + "[axes.x]\nlogs = [1, 2, 3]\n", "no key 'logs'; did you mean 'log'"),
    "empty": (HEAD + "[axes.x]\nvalues = []\n", "not empty"),
    "huge count": (HEAD + "[axes.x]\nlog = [1, 2, 1000000000000]\n", "at most 1000000: .*=1000000000000"),
    "log of 0": (HEAD + "[axes.x]\nlog = [0, 1, 3]\n", "`log` must have positive ends"),
    "three numbers": (HEAD + "[axes.x]\nlinear = [0, 1]\n", r"must be \[first, last, count\]"),
    "twice": (HEAD + "[axes.x]\nvalues = [1, 2, 1.0]\n", "must not repeat a value"),
    "zip": (HEAD + "[axes.x]\nvalues = [1, 2]\nzip = 'a'\n[axes.n]\nvalues = [1]\nzip = 'a'\n", "equally many values"),
    "seeds": (HEAD + "seeds = 0\n[parameters]\nx = 1\n", r"\[scan\] seeds: `seeds` must be at least 1"),
    "seed list": (HEAD + "seeds = [1, 1]\n[parameters]\nx = 1\n", "`seeds` must be different"),
    "record": (HEAD + "record = ['yy']\n[parameters]\nx = 1\n", "no observable 'yy'; did you mean 'y'"),
    "root": (HEAD + "root_seed = -1\n[parameters]\nx = 1\n", "`root_seed` must be at least 0"),
    "points": (HEAD + "[points]\nx = 1\n", r"`points` must be \[\[points\]\] tables"),
    "name": (HEAD + "name = 3\n[parameters]\nx = 1\n", "`name` must be a text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_with_file_key_and_rule(case, tmp_path):
    text, message = REFUSED[case]
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        scan.Scan.from_toml(file)
    assert str(caught.value).startswith(str(file)), caught.value


def test_a_missing_file_names_the_files_that_are_there(tmp_path):
    (tmp_path / "here.toml").write_text(HEAD)
    with pytest.raises(ValueError, match=r"no file '.*gone.toml'; there are here.toml"):
        scan.Scan.from_toml(tmp_path / "gone.toml")


def test_nested_tables_are_dotted_names():
    given_ = {"scan": {"experiment": "simulate"}, "parameters": {
        "model": {"name": "Circle", "h": 2.0}, "lr": 0.1, "time": 3, "d": 2}}  # fmt: skip
    group = scan.Scan.from_dict(given_).groups[0]
    assert (group["model"], group["h"], group["time"]) == ("Circle", 2.0, 3.0), group


def test_values_of_axes_round_to_twelve_digits():
    assert all(len(f"{x!r}".strip("-0.").replace(".", "").split("e")[0]) <= 12 for x in scan.log(0.1, 7, 40).values)
    assert axis({"values": ["a", "b"]}).values == ["a", "b"]
    assert set(string.ascii_letters) & set(scan.Scan(WAVE, {"x": 1.0}).digest)
