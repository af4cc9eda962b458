"""The judge judged: what it must prove, refute with a witness, and refuse to decide."""

import ast
import pathlib

import flint
import pytest
import sympy as sp
from hypothesis import example, given
from hypothesis import strategies as st

import proofs_check
from proofs_check.against import equal, mutants, obeys, vanishes
from proofs_check.inequalities import coefficients_nonnegative, nonnegative, positive
from proofs_check.judge import Given, Undecided, Verdict, flint_agrees, zero
from proofs_check.judge import given as hypothesis_given
from proofs_check.points import solve
from proofs_check.registry import Claim, claim, examine
from proofs_check.words import matrices, vanish

x, y, z, r, R = sp.symbols("x y z r R")
numbers = st.fractions(min_value=-3, max_value=3, max_denominator=4).map(
    lambda f: sp.Rational(f.numerator, f.denominator)
)
monomials = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2))
polynomials = st.dictionaries(monomials, numbers, max_size=5).map(
    lambda terms: sp.Add(*(c * x**a * y**b * z**n for (a, b, n), c in terms.items()))
)


def holds_at(expr, witness):
    """The value of an expression at a witness of flint rationals."""
    return expr.subs({k: sp.Rational(int(v.p), int(v.q)) for k, v in witness.items()})


@given(polynomials, polynomials)
@example(sp.S.Zero, sp.S.Zero)
def test_identities_of_polynomials_are_proved(p, q):
    verdict = zero("square of a sum", (p + q) ** 2 - p**2 - 2 * p * q - q**2)
    assert verdict.proved and not verdict.witness, verdict


@given(polynomials, polynomials.filter(lambda q: q != 0))
@example(x, sp.Rational(1, 10**40))
def test_false_identities_are_refuted_at_a_point_where_they_fail(p, q):
    verdict = zero("p + q = p", (p + q) - p if q.is_number else sp.Add(p, q, -p, evaluate=False))
    assert verdict.refuted and not verdict.proved, verdict
    assert holds_at(q, verdict.witness) != 0, verdict


@given(polynomials, polynomials.filter(lambda q: q != 0))
def test_rational_identities_name_what_they_divide_by(p, q):
    verdict = zero("p/q q = p", sp.Mul(p / (q * (x + 1)), q, x + 1, evaluate=False) - p)
    assert verdict.proved, verdict
    divided = zero("1/(x + 1) - (1 - x)/(1 - x^2)", 1 / (x + 1) - (1 - x) / (1 - x**2)).divided_by
    assert set(divided) & {x + 1, x - 1}, divided


@pytest.mark.parametrize(
    "expr",
    [
        sp.Float("0.5") * x - x / 2 + sp.Float("0.1") * y,
        sp.sqrt(x) - sp.sqrt(x) * y,
        sp.exp(x) - sp.exp(y),
        sp.pi - sp.Rational(355, 113),
        sp.log(x) + 1,
        x**y,
        sp.nan,
        sp.zoo,
        sp.exp(sp.pi * sp.sqrt(163)) - 262537412640768744,  # 7.5e-13: an integer to fifteen digits
    ],
    ids=str,
)
def test_floats_roots_and_transcendental_numbers_are_refused(expr):
    with pytest.raises(Undecided, match="not rational"):
        zero("not rational", expr)


def test_zero_over_zero_is_refused():
    hidden = sp.Mul(x - x * 1, sp.Pow(sp.Add(x, -x, evaluate=False), -1, evaluate=False), evaluate=False)
    with pytest.raises(Undecided):
        zero("0/0", hidden)
    with pytest.raises(Undecided):
        zero("1/(x - y) where x = y", 1 / (x - y), hypothesis_given([x - y], {x: 1, y: 1}))


def test_an_identity_that_holds_only_numerically_is_not_proved():
    gap = sp.Rational(1, 10**60)
    assert zero("x + 1e-60 = x", x * (1 + gap) - x).refuted
    close = sp.nsimplify(sp.sqrt(2).evalf(80), rational=True)  # equal to sqrt 2 to eighty digits
    verdict = None
    with pytest.raises(Undecided):
        verdict = zero("root 2", r - close, Given(((r**2 - 2, sp.S.One),)))
    assert verdict is None
    assert vanishes("nested root", sp.sqrt(5 + 2 * sp.sqrt(6)) ** 2 - 5 - 2 * sp.sqrt(6)).proved


def test_irrational_points_refute_with_balls():
    root = Given(((r**2 - 2, sp.S.One),))
    assert zero("r^4 = 4", r**4 - 4, root).proved
    verdict = zero("r = 1", r - 1, root)
    assert verdict.refuted and isinstance(verdict.witness[r], flint.arb), verdict


def test_contradictory_hypotheses_prove_nothing():
    with pytest.raises(Undecided, match="does not satisfy"):
        hypothesis_given([x, x - 1], {x: 0})
    forged = Given(((x, sp.S.One), (x - 1, sp.S.One)))
    with pytest.raises(Undecided):
        zero("x = 5", x - 5, forged)


def test_hypotheses_without_a_real_point_prove_nothing():
    for value in range(-3, 4):
        with pytest.raises(Undecided, match="does not satisfy"):
            hypothesis_given([x**2 + 1], {x: value})
    with pytest.raises(Undecided):
        hypothesis_given([x**2 + 1], {x: sp.I})
    with pytest.raises(Undecided):
        zero("x^4 = 1", x**4 - 1, Given(((x**2 + 1, sp.S.One),)))


def test_hypotheses_must_come_with_an_example():
    with pytest.raises(TypeError, match="given"):
        zero("r^2 = R", r**2 - R, [r**2 - R])


def test_relations_are_used_and_their_absence_is_refuted():
    modulo = hypothesis_given([r**2 - R], {r: 2, R: 4})
    assert zero("r^4 = R^2", r**4 - R**2, modulo).proved
    verdict = zero("r^4 = R^2", r**4 - R**2)
    assert verdict.refuted and holds_at(r**4 - R**2, verdict.witness) != 0, verdict


def test_a_consequence_only_after_division_needs_the_division_to_be_allowed():
    example_point = {x: 2, y: 3, z: 3}
    verdict = zero("x y = x z implies y = z", y - z, hypothesis_given([x * y - x * z], {x: 0, y: 2, z: 3}))
    assert verdict.refuted and int(verdict.witness[x].p) == 0, verdict
    allowed = hypothesis_given([x * y - x * z], example_point, nonzero=[x])
    verdict = zero("x y = x z implies y = z", y - z, allowed)
    assert verdict.proved and x in verdict.divided_by, verdict


def test_the_second_library_refuses_a_wrong_cofactor():
    relations, expr = (r**2 - R,), r**4 - R**2
    assert flint_agrees(expr, relations, (r**2 + R,), sp.S.One)
    assert not flint_agrees(expr, relations, (r**2 + R + 1,), sp.S.One)
    assert not flint_agrees(expr, relations, (r**2 - R,), sp.S.One)
    assert not flint_agrees(expr + 1, relations, (r**2 + R,), sp.S.One)
    assert not flint_agrees(expr, relations, (r**2 + R,), sp.S.Zero)


def test_the_second_library_decides_for_itself(monkeypatch):
    from proofs_check import judge

    monkeypatch.setattr(judge, "_witness", lambda *arguments: None)
    monkeypatch.setattr(judge, "_membership", lambda label, numerator, modulo: ([], ()))
    with pytest.raises(Undecided, match="libraries disagree"):
        zero("a wrong first route", x - y)


def test_mutants_change_every_number_and_every_term():
    found = set(mutants(3 * x**2 - y / 2 + 5))
    expected = {4 * x**2 - y / 2 + 5, 3 * x**3 - y / 2 + 5, 3 * x**2 + y / 2 + 5, 3 * x**2 - y / 2 + 6,
                6 * x**2 - y / 2 + 5, 3 * x**2 - y + 5, 3 * x**2 - y / 2 + 10}  # fmt: skip
    assert expected <= found, expected - found


def test_a_prediction_that_the_residual_ignores_survives_mutation():
    verdict = obeys("vacuous", x**2 + 3, lambda face: [0 * face.value])
    assert not verdict.proved and verdict.survivors and not verdict.refuted, verdict


def test_exponentials_and_roots_become_letters():
    t, k = sp.symbols("t k")
    decay = obeys("decay", 7 * sp.exp(-k * t), lambda f: [f.rate(t) + k * f.value, f.at(t=0) - 7])
    assert decay.proved and decay.mutants >= 3, decay
    wrong = obeys("wrong rate", 7 * sp.exp(-2 * k * t), lambda f: [f.rate(t) + k * f.value, f.at(t=0) - 7])
    assert wrong.refuted, wrong
    root = obeys("root", sp.sqrt(2 * x / y), lambda f: [f.power(2) * y - 2 * x])
    assert root.proved and root.mutants >= 4, root


def test_inequalities_on_boxes():
    touching = nonnegative("(x - 1)^2 on [0, 2]", (x - 1) ** 2, {x: (0, 2)})
    assert touching.proved, touching
    below = nonnegative("x^2 - 1/100 on [-1, 1]", x**2 - sp.Rational(1, 100), {x: (-1, 1)})
    assert below.refuted and holds_at(x**2 - sp.Rational(1, 100), below.witness) < 0, below
    with pytest.raises(Undecided, match="cells"):
        nonnegative("(x - y)^2, zero on a line", (x - y) ** 2, {x: (0, 1), y: (0, sp.Rational(2, 3))})
    tight = positive("e^x > 1 + x - 1/1000", lambda b: b.exp() - 1 - b + flint.arb("0.001"), ((-1, 1),))
    assert tight.proved, tight
    wrong = positive("e^x > 1 + 2x", lambda b: b.exp() - 1 - 2 * b, ((0, 1),))
    assert wrong.refuted, wrong


def test_signs_of_coefficients():
    assert coefficients_nonnegative("x/(x + y)", x / (x + y) + y**2).proved
    assert coefficients_nonnegative("x - y", x - y).refuted
    with pytest.raises(Undecided, match="no negative value"):
        coefficients_nonnegative("x^2 - x y + y^2 is positive, but not by its coefficients",
        x**2 - x * y + y**2)


def test_words_tell_matrices_from_numbers():
    A, B = matrices("A B")
    assert all(v.proved for v in vanish("transpose", (A @ B).T - B.T @ A.T))
    wrong = vanish("commute", A @ B - B @ A)
    assert all(v.refuted for v in wrong) and len(wrong) == 2, wrong


def test_elimination_keeps_away_from_forbidden_zeros():
    steps = solve((x * y - x * z,), (x,))
    assert steps is not None and steps[0].letter in (y, z), steps
    assert solve((x**2 + y**2 - r**2,), ()) is not None


def outcome_of(proof):
    return examine(Claim("T", "says", "establishes", "source", proof))


def test_a_hypothesis_that_is_not_needed_is_an_error():
    def proof(idle=True):
        yield equal("x + x", x + x, 2 * x)

    outcome = outcome_of(proof)
    assert outcome.verdict == "undecided" and outcome.idle == ("idle",), outcome


def test_a_proof_without_hypotheses_is_not_accepted():
    def proof():
        yield equal("x + x", x + x, 2 * x)

    assert outcome_of(proof).verdict == "undecided"


def test_undecided_is_not_a_refutation():
    def proof(rational=True):
        yield zero("x - x", sp.Add(x, -x) if rational else sp.sqrt(x) - y)

    outcome = outcome_of(proof)
    assert outcome.twins[0].outcome.startswith("undecided"), outcome
    assert outcome.verdict == "undecided", outcome


def test_a_false_claim_is_refuted_and_an_empty_proof_is_not_a_proof():
    def wrong(needed=True):
        yield equal("x + x", x + x, 3 * x)

    def empty(needed=True):
        yield from ()

    assert outcome_of(wrong).verdict == "refuted"
    assert outcome_of(empty).verdict == "undecided"


def test_a_proof_with_a_needed_hypothesis_is_proved():
    def proof(square=True):
        modulo = hypothesis_given([r**2 - R], {r: 3, R: 9}) if square else ()
        yield equal("r^4", r**4, R**2, modulo)

    outcome = outcome_of(proof)
    assert outcome.verdict == "proved" and outcome.mutants >= 2, outcome
    assert isinstance(outcome.checks[0], Verdict)


def test_a_second_claim_with_the_same_id_is_refused():
    proofs_check.claims()

    def proof(needed=True):
        yield equal("x", x, x)

    with pytest.raises(ValueError, match="exists already"):
        claim("I9", "says", "establishes", "source")(proof)


FOLDER = pathlib.Path(proofs_check.__file__).parent


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda f: f.stem)
def test_proof_sources_have_no_floats_no_integer_division_and_no_heuristic_zero_tests(file):
    wrong = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and file.stem != "__main__":
            wrong.append(f"{file.name}:{node.lineno}: float {node.value}")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            sides = (node.left, node.right)
            if all(isinstance(s, ast.Constant) and isinstance(s.value, int) for s in sides):
                wrong.append(f"{file.name}:{node.lineno}: {ast.unparse(node)} is a float")
        if isinstance(node, ast.Attribute) and node.attr in ("simplify", "equals"):
            wrong.append(f"{file.name}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)
