"""Who may import whom, lazy loading, and house rules a machine can check."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NUMERICS = (
    "lanes",
    "models",
    "dynamics",
    "integrators",
    "networks",
    "observables",
    "observers",
    "flow",
    "evaluate",
)
FORBIDDEN = {
    **{
        f"sdetheory/{part}": ("sdetheory.predictions", "proofs_check", "figures", "tests", "benchmarks")
        for part in NUMERICS
    },
    "sdetheory/predictions": (
        "sdetheory",
        "proofs_check",
        "numba",
        "scipy.integrate",
        "figures",
        "tests",
        "benchmarks",
    ),
    "proofs_check": ("sdetheory", "numba", "figures", "tests", "benchmarks"),
    "figures": ("tests", "benchmarks"),
    "benchmarks": ("tests", "figures"),
}
ALLOWED = {"sdetheory/predictions": ("sdetheory.predictions",), "proofs_check": ("sdetheory.predictions",)}


def sources(part):
    path = ROOT / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [p for p in [path.with_suffix(".py")] if p.exists()]


def imported(file):
    """Absolute names of everything a file imports."""
    package = list(file.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name, roots):
    return any(name == root or name.startswith(root + ".") for root in roots)


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_imports_point_the_right_way(part):
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sources(part)
        for name in imported(file)
        if within(name, FORBIDDEN[part]) and not within(name, ALLOWED.get(part, ()))
    ]
    assert not wrong, "\n".join(wrong)


def test_predictions_do_not_load_the_compiler():
    code = "import sys, sdetheory, sdetheory.predictions; print('numba' in sys.modules, 'matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.split() == ["False", "False"], out.stdout


def test_every_public_name_loads():
    import sdetheory

    missing = [name for name in sdetheory.__all__ if getattr(sdetheory, name, None) is None]
    assert not missing, missing
    with pytest.raises(AttributeError, match="no attribute 'gama'"):
        sdetheory.gama  # noqa: B018


def python_files():
    folders = ("sdetheory", "proofs_check", "figures", "benchmarks", "tests")
    return [f for folder in folders for f in sorted((ROOT / folder).rglob("*.py"))]


def test_every_module_and_public_function_says_what_it_is():
    silent = []
    for file in python_files():
        tree, where = ast.parse(file.read_text()), file.relative_to(ROOT)
        if not ast.get_docstring(tree) and file.read_text().strip():
            silent.append(f"{where}: no module docstring")
        if where.parts[0] == "tests":
            continue
        silent += [
            f"{where}:{node.lineno}: public {node.name} has no docstring"
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not silent, "\n".join(silent)


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("folder", ["sdetheory", "proofs_check", "figures", "benchmarks"])
def test_no_fast_mathematics_and_no_global_random_state(folder):
    wrong = []
    for file in sorted((ROOT / folder).rglob("*.py")):
        for name, node in calls(ast.parse(file.read_text())):
            fast = any(k.arg == "fastmath" and ast.unparse(k.value) == "True" for k in node.keywords)
            legacy = name.startswith("np.random.") and name.split(".")[-1] in (
                "seed",
                "rand",
                "randn",
                "normal",
                "uniform",
            )
            if fast or legacy:
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert not wrong, "\n".join(wrong)
