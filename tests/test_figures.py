"""The figures: the press on a toy figure, and every real figure's caption, bytes and ability to fail."""

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from figures.press import cache, files, manifest, runner, style
from figures.press.expectation import at_least, at_most, between, near

TOY = '''
"""A toy: the powers of a number.

Nobody's figure.
"""
import numpy as np
from figures.press import style
from figures.press.expectation import at_most, near

CLAIMS = ("I16",)
CAPTION = "Powers of {base:g}."
PARAMS = {"base": 2.0, "seed": 7}
QUICK = {"base": 3.0, "seed": 7}

def compute(params):
    calls.append(params["base"])
    return {"power": power(params["base"])}

def power(base):
    return base ** np.arange(4)

def expect(data):
    ratio = data["power"][1] / data["power"][0]
    return [at_most("bounded", data["power"][3], 30.0, "The last power is {found:.0f}, at most {bound:.0f}."),
            near("geometric", data["power"][2] / data["power"][1], ratio, 1e-12, "Ratios are {found:.3g}.")]

BROKEN = {"bounded": lambda data: data | {"power": data["power"] * 100},
          "geometric": lambda data: data | {"power": data["power"] + 1}}

def draw(data):
    figure, axes = style.page(1, 1, 2.0)
    axes.plot(data["power"])
    axes.set(xlabel="exponent", ylabel=r"$b^k$")
    return figure

calls = []
'''


def toy(folder, source=TOY, name="toy"):
    """Import a figure script from text."""
    path = folder / files.sha256(source.encode())[:8] / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script, out, *arguments):
    """Exit status of the command that knows only this figure."""
    return runner.main([*arguments, "--out", str(out)], {"toy": lambda: script})


def outputs(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_a_figure_leaves_its_files_and_says_what_held(tmp_path, capsys):
    assert run(toy(tmp_path), tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "1 figures, 2 sentences checked; all hold" in text and "bounded" in text, text
    assert set(outputs(tmp_path / "out")) == {"toy.pdf", "toy.png", "toy.npz", "toy.json"}
    record = json.loads((tmp_path / "out" / "toy.json").read_text())
    assert record["caption"] == "Powers of 2. The last power is 8, at most 30. Ratios are 2."
    assert record["command"] == "python -m figures toy" and record["seeds"] == {"seed": 7}
    assert [row["holds"] for row in record["expectations"]] == [True, True]
    for name, digest in record["sha256"].items():
        assert files.sha256((tmp_path / "out" / name).read_bytes()) == digest, name
    np.testing.assert_array_equal(files.unpack(tmp_path / "out" / "toy.npz")["power"], [1, 2, 4, 8])


def test_same_bytes_twice_also_in_another_process(tmp_path):
    """Two folders in this process and one with another hash seed: all four files are the same bytes."""
    script = toy(tmp_path)
    for name in ("one", "two"):
        assert run(script, tmp_path / name) == 0
    code = textwrap.dedent(f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        import test_figures as t
        sys.exit(t.run(t.toy(Path({str(tmp_path)!r})), {str(tmp_path / "three")!r}))""")
    root = Path(__file__).parents[1]
    environment = {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(root), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two, three = (outputs(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two, [name for name in one if one[name] != two[name]]
    assert one == three, [name for name in one if one[name] != three[name]]


def test_computed_once_and_again_after_an_edit_of_what_compute_uses(tmp_path, capsys):
    first = toy(tmp_path)
    assert run(first, tmp_path / "out") == run(first, tmp_path / "out") == 0
    assert first.calls == [2.0], first.calls
    assert "from the cache" in capsys.readouterr().out
    redrawn = toy(tmp_path, TOY.replace('xlabel="exponent"', 'xlabel="k"').replace("Nobody's", "No one's"))
    assert run(redrawn, tmp_path / "out") == 0
    assert redrawn.calls == [], "an edit of draw recomputed the data"
    edited = toy(tmp_path, TOY.replace("np.arange(4)", "np.arange(5)"))
    assert run(edited, tmp_path / "out") == 0
    assert edited.calls == [2.0], "an edit of a function that compute calls was not seen"


def test_quick_is_another_entry_and_a_damaged_entry_is_computed_again(tmp_path, capsys):
    script, out = toy(tmp_path), tmp_path / "out"
    assert run(script, out) == run(script, out, "--quick") == 0
    assert script.calls == [2.0, 3.0]
    for path in (out / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    capsys.readouterr()
    assert run(script, out) == 0 and script.calls == [2.0, 3.0, 2.0]
    assert "damaged" in capsys.readouterr().err


def test_an_edit_of_a_module_of_the_package_makes_the_entry_stale(tmp_path, monkeypatch):
    script, out = toy(tmp_path), tmp_path / "out"
    assert run(script, out) == 0
    before = cache.module_digest
    monkeypatch.setattr(
        cache, "module_digest", lambda name: before(name) + "x" * (name == "sdetheory.checks")
    )
    data, why = cache.look_up(out / "cache", cache.recipe(script, script.PARAMS))
    assert data is None and why == "sdetheory.checks changed", why


def test_numbers_from_sources_edited_meanwhile_are_kept_but_not_used_again(tmp_path, monkeypatch):
    script, out = toy(tmp_path), tmp_path / "out"
    monkeypatch.setattr(cache, "BEGAN", 0.0)
    assert run(script, out) == run(script, out) == 0
    assert script.calls == [2.0, 2.0], "numbers of unknown sources were used again"
    assert len(list((out / "cache").iterdir())) == 1


def test_a_false_caption_ends_with_status_1_and_prints_the_sentence(tmp_path, capsys):
    script = toy(tmp_path, TOY.replace("30.0", "7.5"))
    assert run(script, tmp_path / "out") == 1
    text = capsys.readouterr().out
    assert "FAILED" in text and "The last power is 8" in text, text
    assert not json.loads((tmp_path / "out" / "toy.json").read_text())["expectations"][0]["holds"]


def test_a_check_that_cannot_fail_is_refused(tmp_path, capsys):
    script = toy(tmp_path, TOY.replace('data["power"] * 100', 'data["power"] * 1'))
    assert run(script, tmp_path / "out") == 1
    assert "BLIND  bounded" in capsys.readouterr().out
    nameless = toy(tmp_path, TOY.replace('"geometric": lambda', '"geometrie": lambda'))
    with pytest.raises(ValueError, match=r"`BROKEN` must name each check once.*geometrie"):
        run(nameless, tmp_path / "out")


def test_quick_must_have_the_same_keys(tmp_path):
    script = toy(tmp_path, TOY.replace('QUICK = {"base": 3.0, "seed": 7}', 'QUICK = {"base": 3.0}'))
    with pytest.raises(
        ValueError, match=r"`QUICK` must have the keys of `PARAMS` in toy: they differ in \['seed'\]"
    ):
        run(script, tmp_path / "out", "--quick")


def test_unknown_name_suggests_and_ends_with_status_2(capsys):
    assert runner.main(["equilibrum"]) == 2
    assert "did you mean 'equilibrium'?" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_ends_with_status_2(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in ("file", "file/inside"):
        assert runner.main(["small_lr", "--quick", "--out", str(tmp_path / out)]) == 2
        assert "figures: cannot write to `--out`: " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.compiled
def test_two_processes_draw_the_same_as_one(tmp_path, capsys):
    names = ["public_run", "never_settles"]
    for workers in ("1", "2"):
        assert runner.main([*names, "--quick", "--out", str(tmp_path / workers), "--workers", workers]) == 0
    table = capsys.readouterr().out
    assert table.rindex("public_run: ") < table.rindex("never_settles: "), "the table is in the order asked for"
    for file in (f"{name}.{kind}" for name in names for kind in ("pdf", "png", "npz")):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes(), file


def test_interrupted_run_goes_on_where_it_stopped(tmp_path, capsys):
    (tmp_path / "b").mkdir()
    first = toy(tmp_path)
    second = toy(tmp_path / "b", TOY.replace('calls.append(params["base"])', "raise KeyboardInterrupt"))
    known = {"toy": lambda: first, "second": lambda: second}
    assert runner.main(["--out", str(tmp_path / "out")], known) == 130
    assert "1 figures done" in capsys.readouterr().err and len(outputs(tmp_path / "out")) == 4
    assert run(first, tmp_path / "out") == 0 and first.calls == [2.0], (
        "the finished figure was computed again"
    )


def test_intervals_of_expectations():
    assert at_most("a", 1.0, 1.0, "{found} {bound}").holds and not at_most("a", 1.1, 1.0, "").holds
    assert at_least("a", 1.0, 1.0, "{found} {bound}").holds and not at_least("a", 0.9, 1.0, "").holds
    assert between("a", 0.5, 0.0, 1.0, "").holds and not between("a", 2.0, 0.0, 1.0, "").holds
    assert near("a", 0.96, 1.0, 0.05, "").holds and not near("a", 0.94, 1.0, 0.05, "").holds
    for one in (at_most, at_least):
        assert not one("a", np.nan, 0.0, "").holds, "NaN satisfies nothing"
    assert not near("a", np.nan, 0.0, 1.0, "").holds


def test_the_style_does_not_leak():
    import matplotlib

    size = matplotlib.rcParams["font.size"]
    with style.paper():
        assert matplotlib.rcParams["pdf.fonttype"] == 42 and not matplotlib.rcParams["text.usetex"]
    assert matplotlib.rcParams["font.size"] == size


ALWAYS = (
    "depth_scan", "equilibrium", "ginsburg_plane", "imbalance_rate", "lr_drop", "outside_span", "public_run",
    "regularity_edge",
)  # fmt: skip


def figures_under_test():
    """One parameter a figure, marked with the claims it shows; a few of each theory always, all with -m slow."""
    found = []
    for name, script in runner.scripts().items():
        marks = [pytest.mark.claim(*script().CLAIMS, kind="figure"), pytest.mark.compiled]
        found.append(pytest.param(name, marks=marks if name in ALWAYS else [*marks, pytest.mark.slow]))
    return found


@pytest.mark.parametrize("name", figures_under_test())
def test_every_sentence_of_the_caption_holds_can_fail_and_is_drawn_the_same_twice(name, tmp_path):
    """The quick figure: its sentences hold, each fails on data spoilt for it, same bytes twice."""
    script = runner.scripts()[name]()
    data, _ = runner.obtain(script, True, tmp_path)
    expectations = script.expect(data)
    failed = [f"{e.name}: found {e.found:.6g}, {e.interval}" for e in expectations if not e.holds]
    assert not failed, failed
    assert not (blind := runner.blind_checks(script, data, expectations)), f"cannot fail: {blind}"
    pages = runner.draw(script, data), runner.draw(script, data)
    assert pages[0] == pages[1], "PDF or PNG differ between two drawings of the same data"
    again, _ = runner.obtain(script, True, tmp_path)
    assert files.pack(again) == files.pack(data), "the cache gives other numbers than were computed"
    record = manifest.describe(script, True, expectations)
    assert record["command"].endswith(f"{name} --quick") and len(record["caption"]) > 200


@pytest.mark.compiled
def test_computing_twice_gives_the_same_bits():
    from figures import lr_drop

    small = {
        "paths": 64,
        "net_seeds": 2,
        "net_product": 2e-2,
        "product": 2e-2,
        "horizon": 0.1,
        "net_before": 1.0,
    }
    first, second = (lr_drop.compute(lr_drop.QUICK | small) for _ in range(2))
    differing = [name for name in first if first[name].tobytes() != second[name].tobytes()]
    assert not differing, differing


def test_the_list_says_what_each_figure_shows(capsys):
    assert runner.main(["--list"]) == 0
    text = capsys.readouterr().out
    for name in runner.scripts():
        assert f"\n{name}" in f"\n{text}", text
    assert len(re.findall(r"^ +claims [ABDI]\d", text, re.MULTILINE)) == len(runner.scripts()), text
