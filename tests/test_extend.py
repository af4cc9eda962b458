"""A user's loss, noise and observer in a module of their own: full speed path, cached on disk, never
stale.
"""

import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

import sdetheory as st
from sdetheory import evaluate
from sdetheory.lanes.cache import compiled
from sdetheory.lanes.dispatch import verb
from sdetheory.lanes.random import increments
from sdetheory.lanes.tag import tag
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import coordinate, gradient, prepare, workspace

ROOT = pathlib.Path(__file__).parents[1]

LANDSCAPE = """
from typing import NamedTuple
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import disturb, draws, gradient, observe
import springs

class Bowl(NamedTuple):
    stiffness: float

@gradient.of(Bowl)
def bowl_gradient(model, w, out, work):
    for i in range(w.size):
        store(out, i, springs.pull(model.stiffness, load(w, i)))

class Kick(NamedTuple):
    size: float

@draws.of(Kick)
def kick_draws(noise, d):
    return 1

@disturb.of(Kick)
def kick(noise, w, z, out, work):
    for i in range(w.size):
        store(out, i, noise.size * load(z, 0))

class Last(NamedTuple):
    pass

@observe.of(Last)
def last(observer, w):
    return load(w, w.size - 1)
"""

SPRINGS = """
from numba import njit
from constants import UNIT

@njit
def pull(stiffness, v):
    return FACTOR * UNIT * stiffness * v
"""

RUN = """
import json
import numpy as np
import sdetheory as st
import sdetheory as st
from sdetheory import evaluate
import landscape
gradient = evaluate.gradient(landscape.Bowl(0.5), [1.0, -2.0])
count = lambda name: sum(getattr(getattr(evaluate._gradient, "stats", None), name, {}).values())
print(json.dumps([gradient.tolist(), count("cache_hits"), count("cache_misses")]))
"""

TRAIN = """
import json
import numpy as np
import sdetheory as st
import landscape
ens = st.simulate(landscape.Bowl(0.5), st.SGD(0.1), np.array([1.0, -2.0]), [3], noise=landscape.Kick(0.3),
                  observe=[landscape.Last()], width=8, seed=5)
print(json.dumps([ens.final[0].tolist(), ens["last"][0, 0]]))
"""


class Workshop:
    """A folder of the user's modules, a script in another folder, and a cache of their own."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("modules", "scripts", "cache"):
            (folder / name).mkdir()
        self.write("landscape", LANDSCAPE)
        self.write("springs", SPRINGS.replace("FACTOR", "2.0"))
        self.write("constants", "UNIT = 1.0\n")
        (folder / "scripts" / "run.py").write_text(RUN)
        (folder / "scripts" / "train.py").write_text(TRAIN)

    def write(self, module, text):
        (self.folder / "modules" / f"{module}.py").write_text(text)

    def run(self, script="run.py", **environment):
        """What a fresh process prints."""
        path = os.pathsep.join([str(ROOT), str(self.folder / "modules")])
        environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(self.folder / "cache"),
                       "PYTHONDONTWRITEBYTECODE": "1"} | environment  # fmt: skip
        file = str(self.folder / "scripts" / script)
        command, where = [sys.executable, file], self.folder / "scripts"
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=where)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def expect(workshop, factor, hits):
    """factor * 0.5 w, and where the compiled code came from."""
    gradient, found, missed = workshop.run()
    np.testing.assert_allclose(gradient, factor * 0.5 * np.array([1.0, -2.0]), rtol=1e-15)
    assert (found, missed) == hits, (found, missed)


@pytest.mark.compiled
def test_an_edit_anywhere_below_a_kernel_is_seen_and_nothing_else_recompiles(tmp_path):
    workshop = Workshop(tmp_path)
    expect(workshop, 2.0, (0, 1))
    expect(workshop, 2.0, (1, 0))
    workshop.write("springs", SPRINGS.replace("FACTOR", "4.0"))  # a helper in another module
    expect(workshop, 4.0, (0, 1))
    workshop.write("constants", "UNIT = 0.5\n")  # a constant the helper imports
    expect(workshop, 2.0, (0, 1))
    workshop.write("springs", SPRINGS.replace("FACTOR", "2.0"))
    workshop.write("constants", "UNIT = 1.0\n")  # as it was: still known
    expect(workshop, 2.0, (1, 0))


@pytest.mark.parametrize("jit_off", [pytest.param("0", marks=pytest.mark.compiled), "1"])
def test_a_users_loss_noise_and_observer_train_from_another_folder(tmp_path, jit_off):
    final, last = Workshop(tmp_path).run("train.py", NUMBA_DISABLE_JIT=jit_off)
    w = np.array([1.0, -2.0])
    for z in increments(5, 0, 0, 3, 1):
        w = w - 0.1 * (w + 0.3 * z)
    np.testing.assert_allclose(final, w, rtol=1e-13)
    assert last == final[1]


LATE = """
import json
import sdetheory as st
from sdetheory.lanes.verbs import prepare
import landscape
st.simulate(landscape.Bowl(0.5), st.GradientDescent(0.1), [1.0, -2.0], [3])
try:
    prepare.of(landscape.Bowl)(lambda model, w, q, out, work: (q,))
except TypeError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_a_kernel_that_comes_too_late_is_refused_by_code_from_disk_too(tmp_path):
    workshop = Workshop(tmp_path)
    (tmp_path / "scripts" / "late.py").write_text(LATE)
    for _ in range(2):  # compiled, then read from disk
        assert "Bowl already has a `prepare` kernel" in workshop.run("late.py")


TWIN = """
from typing import NamedTuple
from sdetheory.lanes.vector import load, store
from sdetheory.lanes.verbs import gradient

class Bowl(NamedTuple):
    stiffness: float

@gradient.of(Bowl)
def bowl_gradient(model, w, out, work):
    for i in range(w.size):
        store(out, i, FACTOR * model.stiffness * load(w, i))
"""

TWINS = """
import json, sys
import numpy as np
import sdetheory as st
from sdetheory import evaluate
slopes = []
for name in sys.argv[1:] or ("left", "right"):
    model = __import__(name).Bowl(1.0)
    slopes.append(evaluate.gradient(model, [1.0])[0])
print(json.dumps(slopes))
"""


@pytest.mark.compiled
def test_classes_of_one_name_from_two_modules_keep_their_own_kernels(tmp_path):
    """Compiled in separate processes and then both loaded from disk by a third, in either order."""
    workshop = Workshop(tmp_path)
    for name, factor in (("left", "1.0"), ("right", "2.0")):
        workshop.write(name, TWIN.replace("FACTOR", factor))
        (tmp_path / "scripts" / f"{name}.py").write_text(TWINS.replace("sys.argv[1:]", f"[{name!r}]"))
    (tmp_path / "scripts" / "both.py").write_text(TWINS)
    sys_path = {"PYTHONSAFEPATH": "1"}  # the scripts' own folder has files of the same names
    assert workshop.run("left.py", **sys_path) == [1.0]
    assert workshop.run("right.py", **sys_path) == [2.0]
    assert workshop.run("both.py", **sys_path) == [1.0, 2.0]


class Local(NamedTuple):
    factor: float


@gradient.of(Local)
def _local(model, w, out, work):
    for i in range(w.size):
        store(out, i, model.factor * load(w, i))


def test_a_second_kernel_for_a_class_is_refused():
    with pytest.raises(TypeError, match=r"Local already has a `gradient` kernel.*define a new class"):
        gradient.of(Local)(_local)


@pytest.mark.compiled
def test_a_kernel_that_comes_after_compiled_code_is_refused():
    evaluate.gradient(Local(1.0), [1.0])
    jitted = njit(lambda plugin, d: workspace(plugin, d))
    assert jitted(Local(1.0), 3) == 0
    with pytest.raises(
        TypeError, match="Local already has a `workspace` kernel, which compiled code goes on using"
    ):
        workspace.of(Local)(lambda plugin, d: 1)


class Spring(NamedTuple):
    stiffness: float


class PointwiseSpring(NamedTuple):
    stiffness: float


@gradient.of(Spring, PointwiseSpring)
def _spring(model, w, out, work):
    for i in range(w.size):
        store(out, i, model.stiffness * load(w, i))


@prepare.of(PointwiseSpring)
def _nothing_shared(model, w, q, out, work):
    return (q,)


@coordinate.of(PointwiseSpring)
def _pull(model, c, v, i, out):
    return model.stiffness * v


def test_descent_is_bitwise_the_same_with_and_without_the_pointwise_form():
    """Without it (and without noise) the squared norm is not summed."""
    start = np.array([[1.0, -0.3, 2.0], [0.0, 1e-300, 7.0]])
    ends = [
        st.simulate(model, st.GradientDescent(0.1, 0.3), start, [5, 40])
        for model in (Spring(0.7), PointwiseSpring(0.7))
    ]
    assert ends[0].final.tobytes() == ends[1].final.tobytes(), [end.final for end in ends]


@pytest.mark.compiled
def test_a_pointwise_form_comes_too_late_after_descent_was_compiled_without():
    st.simulate(Spring(0.7), st.GradientDescent(0.1, 0.3), [1.0, -0.3, 2.0], [1])
    with pytest.raises(TypeError, match="Spring already has a `prepare` kernel"):
        prepare.of(Spring)(lambda model, w, q, out, work: (q,))


@pytest.mark.parametrize("model", [Spring(-1.0), PointwiseSpring(-1.0)])
def test_descent_that_grows_without_bound_is_found(model):
    with pytest.raises(st.Diverged, match="non-finite"):
        st.simulate(model, st.GradientDescent(9.0), [1.0, 0.5], [400])


class Refusing(NamedTuple):
    limit: float


@gradient.of(Refusing)
def _refuse(model, w, out, work):
    if w.size > model.limit:
        raise ValueError("too many coordinates", w.size)
    for i in range(w.size):
        store(out, i, load(w, i))


def test_a_kernel_may_raise_with_what_it_found():
    """A kernel is compiled as a part of its entry point, and still has an environment of its own."""
    end = st.simulate(Refusing(2.5), st.GradientDescent(0.5), [1.0, 2.0], [1])
    assert end.final.tolist() == [[0.5, 1.0]], end.final
    with pytest.raises(ValueError, match="too many coordinates") as caught:
        st.simulate(Refusing(2.5), st.GradientDescent(0.5), [1.0, 2.0, 3.0], [1])
    assert caught.value.args == ("too many coordinates", 3), caught.value.args


double = verb("double", "thing", "x")


@double.of(Local)
def _double(thing, x):
    return 2.0 * thing.factor * x


def test_an_entry_point_without_a_place_to_be_kept_still_runs(tmp_path):
    space = {"double": double}
    exec("def entry(tag, thing, x):\n return double(thing, x)", space)
    assert compiled(space["entry"])(tag(Local(1.5)), Local(1.5), 2.0) == 6.0
    blocked = compiled(_entry)
    if hasattr(blocked, "_cache"):
        (tmp_path / "file").write_text("not a folder")
        blocked._cache._cache_path = str(tmp_path / "file" / "below")
    assert blocked(tag(Local(1.5)), Local(1.5), 2.0) == 7.0


def _entry(tag, thing, x):
    return double(thing, x) + 1.0
