"""The letter form of a formula: rational in plain letters, with a derivation table and relations.

A proof decides rational identities. Exponentials, roots and logarithms of a prediction become letters whose
rates of change and algebraic relations are rational: nothing transcendental is left to decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from sdetheory.predictions.functions import saturation


class NotRational(ValueError):
    """The formula has a part with no rational derivation table."""


@dataclass(frozen=True)
class LetterForm:
    """A rational expression, what its letters mean, and the relations that tie them."""

    expr: sp.Expr
    meanings: Mapping[sp.Symbol, sp.Expr]
    relations: tuple[sp.Expr, ...]

    def rates(self, symbol: sp.Symbol) -> dict[sp.Symbol, sp.Expr]:
        """The derivation table d/d(symbol): every letter's rate of change, rational in the letters."""
        table: dict[sp.Symbol, sp.Expr] = {symbol: sp.S.One}
        for letter, meaning in self.meanings.items():  # inner letters come first
            if meaning is sp.pi:
                continue
            if meaning.is_Pow and any(table.get(x, 0) != 0 for x in meaning.exp.free_symbols):
                raise NotRational(f"no rational rate of change for {meaning} in {symbol}")
            inner = sp.Add(*(sp.diff(meaning.args[0], x) * rate for x, rate in table.items()))
            table[letter] = _rate(letter, meaning, inner)
        return table

    def rate(self, symbol: sp.Symbol) -> sp.Expr:
        """d(expr)/d(symbol), rational in the letters."""
        return sp.Add(*(sp.diff(self.expr, x) * rate for x, rate in self.rates(symbol).items()))


def letter_form(expr: sp.Expr) -> LetterForm:
    """Replace exponentials, roots, logarithms, symbolic powers and pi in `expr` by letters."""
    return Reader([expr]).form(expr)


def together_under_roots(expr: sp.Expr) -> sp.Expr:
    """The expression with irrational constants moved under the roots beside them, as people write it."""
    if not expr.args:
        return expr
    parts = _gathered(expr) if expr.is_Mul else expr.args
    if parts == expr.args:
        return expr.func(*(together_under_roots(a) for a in parts)) if not expr.is_Pow else expr
    return sp.Mul(*parts, evaluate=False) if len(parts) > 1 else parts[0]


def _plain(expr: sp.Expr) -> sp.Expr:
    """Special functions written with exponentials, logarithms and roots."""
    rooted = expr.replace(saturation, lambda x: (1 - sp.exp(-x)) / x).replace(_is_exp_of_asinh, _root_of_asinh)
    return rooted.replace(sp.asinh, lambda u: sp.log(u + sp.sqrt(u**2 + 1)))


def _rate(letter: sp.Symbol, meaning: sp.Expr, inner: sp.Expr) -> sp.Expr:
    """Chain rule for one letter; `inner` is the derivative of the meaning's first argument, the others stay."""
    if inner == 0:
        return sp.S.Zero
    if isinstance(meaning, sp.exp):
        return letter * inner
    if isinstance(meaning, sp.log):
        return inner / meaning.args[0]
    if meaning.is_Pow:  # its exponent does not move
        return meaning.exp * letter / meaning.base * inner
    raise NotRational(f"no rational rate of change for {meaning}")


def _gathered(product: sp.Mul) -> tuple[sp.Expr, ...]:
    """The factors of a product, its irrational constant moved under a root: sqrt(2) sqrt(x)/2 is
    sqrt(x/2)."""
    constant = sp.Mul(*(a for a in product.args if a.is_number))
    others = [a for a in product.args if not a.is_number]
    for i, root in enumerate(others):
        if not constant.is_Rational and root.is_Pow and root.exp.is_Rational and not root.exp.is_Integer:
            p, q = root.exp.p, root.exp.q
            if (constant**q).is_Rational:
                one = sp.Pow(constant**q * root.base**p, sp.Rational(1, q), evaluate=False)
                return (*others[:i], one, *others[i + 1 :])
    return product.args


def _is_exp_of_asinh(node: sp.Expr) -> bool:
    return isinstance(node, sp.exp) and bool(node.exp.atoms(sp.asinh))


def _root_of_asinh(node: sp.Expr) -> sp.Expr:
    """exp(c asinh u) = (u + sqrt(u^2 + 1))^c."""
    factor, inner = node.exp.as_independent(sp.asinh, as_Add=False)
    if not isinstance(inner, sp.asinh) or not factor.is_Rational:
        raise NotRational(f"no letter for {node}")
    u = inner.args[0]
    return sp.Pow(u + sp.sqrt(u**2 + 1), factor)


class Reader:
    """Bottom-up replacement; equal parts share a letter, commensurable exponents share an exponential.

    `exprs` are read for their exponents only, so that everything read later uses the same exponentials.
    """

    def __init__(self, exprs: Sequence[sp.Expr]):
        self.meanings: dict[sp.Symbol, sp.Expr] = {}
        self.relations: list[sp.Expr] = []
        self.known: dict[sp.Expr, sp.Symbol] = {}
        self.exponents: list[sp.Expr] = []
        exponents = {self.exponent(e) for expr in exprs for e in _plain(expr).atoms(sp.exp)}
        self.exponents = sorted(exponents, key=sp.default_sort_key)

    def form(self, expr: sp.Expr) -> LetterForm:
        """The letter form of one expression; forms of one reader share their letters."""
        return LetterForm(self.read(_plain(sp.sympify(expr))), self.meanings, tuple(self.relations))

    def read(self, node: sp.Expr) -> sp.Expr:
        if node.is_Symbol or node.is_Rational:
            return node
        if node is sp.pi:  # transcendental: what holds for it holds for a letter
            return self.letter(node, "pi")
        if isinstance(node, sp.exp):
            return self.exponential(self.exponent(node))
        if isinstance(node, sp.log):
            return self.letter(sp.log(self.read(node.args[0])), "log")
        if node.is_Mul:
            return sp.Mul(*(self.read(a) for a in _gathered(node)))
        if node.is_Pow and not node.exp.is_Integer:
            return self.root(node)
        if node.is_Add or node.is_Pow:
            return node.func(*(self.read(a) for a in node.args))
        raise NotRational(f"no letter for {node}")

    def exponent(self, node: sp.exp) -> sp.Expr:
        """The argument of an exponential, its own roots and exponentials replaced by letters."""
        return self.read(sp.expand(node.exp))

    def exponential(self, argument: sp.Expr) -> sp.Expr:
        for meaning, letter in self.known.items():
            steps = sp.cancel(argument / meaning.exp) if isinstance(meaning, sp.exp) else sp.nan
            if steps.is_Integer:
                return letter**steps
        ratios = [sp.cancel(other / argument) for other in self.exponents]
        unit = argument * sp.gcd_list([r for r in ratios if r.is_Rational] or [sp.S.One])
        return self.letter(sp.exp(unit), "E") ** sp.cancel(argument / unit)

    def root(self, node: sp.Expr) -> sp.Expr:
        base, power = self.read(node.base), node.exp
        if not power.is_Rational:
            whole, rest = sp.expand(power).as_coeff_Add()
            if not whole.is_Integer:
                whole, rest = sp.S.Zero, power
            return base**whole * self.letter(sp.Pow(base, self.read(rest), evaluate=False), "P")
        fresh = sp.Pow(base, sp.Rational(1, power.q)) not in self.known
        letter = self.letter(sp.Pow(base, sp.Rational(1, power.q)), "root")
        if fresh:
            self.relations.append(letter**power.q - base)
        return letter**power.p

    def letter(self, meaning: sp.Expr, kind: str) -> sp.Symbol:
        if meaning not in self.known:
            self.known[meaning] = sp.Symbol(f"{kind}{len(self.known) + 1}")
            self.meanings[self.known[meaning]] = meaning
        return self.known[meaning]
