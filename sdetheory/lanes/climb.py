"""Machine code for a step of an explicit scheme with error control, for one member or few that share the lanes.

All slopes but the last, the end of the step and the norms of its error, without a return to the compiled loop: with
one member at a time that loop would take as long as the sums.  Two stages share the reading of slopes where the
slope between them comes last in the sum of the second.  The sums of the next stage follow each tile of a slope, while
it is near, in place of weights that this slope needs no more.  Sums are in the order of `integrators.stages` and
`integrators.dop853`, with the same roundings: results are equal, bit by bit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from sdetheory.lanes.emit import (
    DOUBLE,
    I64,
    LANE,
    LANES,
    POINTER,
    called,
    fma_of,
    function_of,
    load,
    loop,
    repeat,
    spread,
    store,
)

BESIDE = 2  # rows of a vector at a time in sums of slopes
Terms = tuple[tuple[int, float], ...]  # (slope, coefficient), in the order of the sum


class Plan(NamedTuple):
    """The scheme, and where things are in a member's memory: vectors by number, numbers of its head by row."""

    state: int
    end: int
    stage: int
    slopes: int
    stages: tuple[tuple[int, Terms], ...]  # (slope, terms of the state at which it is taken)
    ending: tuple[Terms, Terms, Terms]  # the move, the errors of orders 3 and 5
    step: int  # minus the step
    tolerances: int  # relative, absolute
    norms: tuple[int, int]  # parts of the squared norms of the two errors

    def pairs(self, i: int) -> bool:
        """May stage i be summed together with the next one?"""
        if i + 1 >= len(self.stages):
            return False
        slope, after = self.stages[i][0], self.stages[i + 1][1]
        return not self.second(i) and len(after) > 1 and after[-1][0] == slope

    def second(self, i: int) -> bool:
        """Was stage i summed together with the one before, but for its last term?"""
        return i > 0 and self.pairs(i - 1)


PASS = ir.FunctionType(ir.VoidType(), [*[POINTER] * 2, DOUBLE, *[I64] * 2])


def climb(
    builder: Any,
    plan: Plan,
    d: int,
    members: int,
    vectors: Any,
    head: Any,
    decay: Any,
    gradient: Callable[[Any, Any, Any], Any],
) -> None:
    """The code, written where the builder stands; `gradient(at, out, then)` writes a call that takes a slope, and does
    `then`, a `PASS`, for all rows that are ready, some at a time."""
    rows = -(-d * members // LANES)  # of a vector; the rest of the last one is zero
    given = (plan, members, rows)
    passes = [_pass(builder.module, i, *given) for i in range(-1, len(plan.stages))]
    builder.call(passes[0], [vectors, head, decay, I64(0), I64(rows)])
    for (slope, _), then in zip(plan.stages, passes[1:], strict=True):
        at, to = (builder.gep(vectors, [I64(i * rows * LANES)]) for i in (plan.stage, plan.slopes + slope))
        gradient(at, to, then)
    Rows(builder, *given, vectors, head, decay, I64(0), I64(rows)).finish()


def _pass(module: Any, i: int, plan: Plan, members: int, rows: int) -> Any:
    """A function that does for some rows what comes after the slope of stage i: its decay, and the next stage."""
    function = function_of(module, PASS, f"pass.{i + 1}")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    part = Rows(builder, plan, members, rows, *function.args)
    if i >= 0:
        new = part.vector(plan.slopes + plan.stages[i][0])
        with builder.if_then(builder.fcmp_ordered("!=", function.args[2], DOUBLE(0.0))):
            part.over_rows([new], part.decayed, new)
    if i + 1 < len(plan.stages):
        part.sum_up(i + 1)
    builder.ret_void()
    return function


class Rows:
    """Sums over rows first, ..., last - 1 of a member's vectors."""

    def __init__(
        self,
        builder: Any,
        plan: Plan,
        members: int,
        rows: int,
        vectors: Any,
        head: Any,
        decay: Any,
        first: Any,
        last: Any,
    ) -> None:
        self.builder, self.plan, self.members, self.rows = builder, plan, members, rows
        self.vectors, self.head, self.first, self.last = vectors, head, first, last
        self.decay, self.fma = spread(builder, decay), fma_of(builder.module)
        self.state, self.end, self.stage = (self.vector(i) for i in (plan.state, plan.end, plan.stage))
        self.h = spread(builder, load(builder, head, LANES * plan.step, ir.VectorType(DOUBLE, members)), members)

    def sum_up(self, i: int) -> None:
        """Stage i: with the next one, or as the second of two, or alone."""
        terms = self.plan.stages[i][1]
        if self.plan.second(i):
            self.over_rows([self.stage], self.second, terms[-1:])
        elif self.plan.pairs(i):
            self.over_rows([self.stage, self.end], self.both, terms, self.plan.stages[i + 1][1][:-1])
        else:
            self.over_rows([self.stage], self.combined, terms)

    def vector(self, number: int) -> Any:
        """Where a vector of the memory starts."""
        return self.builder.gep(self.vectors, [I64(number * self.rows * LANES)])

    def over_rows(self, results: list[Any], body: Callable[..., list[list[Any]]], *given: Any) -> None:
        """results <- body(rows, ...), some rows at a time."""

        def rows(places: list[Any]) -> None:
            for result, values in zip(results, body(places, *given), strict=True):
                for place, value in zip(places, values, strict=True):
                    self.write(result, place, value)

        self.some_at_a_time(rows)

    def some_at_a_time(self, body: Callable[[list[Any]], None]) -> None:
        """body(where the rows of a group start in a vector), group by group; then row by row."""
        builder = self.builder
        whole = builder.sub(self.last, builder.srem(builder.sub(self.last, self.first), I64(BESIDE)))
        for start, end, count in ((self.first, whole, BESIDE), (whole, self.last, 1)):
            with builder.if_then(builder.icmp_signed("<", start, end)):
                more = lambda then, end=end: builder.icmp_signed("<", then[0], end)
                with loop(builder, [start], more) as ((row,), following):
                    place = builder.mul(row, I64(LANES))
                    body([builder.add(place, I64(LANES * i)) for i in range(count)])
                    following[0] = builder.add(row, I64(count))

    def read(self, vector: Any, places: list[Any]) -> list[Any]:
        """Rows of a vector."""
        return [load(self.builder, self.builder.gep(vector, [place])) for place in places]

    def write(self, vector: Any, place: Any, value: Any) -> None:
        """One row of a vector."""
        store(self.builder, value, self.builder.gep(vector, [place]))

    def sums(self, places: list[Any], *several: Terms, first: list[Any] | None = None) -> list[list[Any]]:
        """For each of several lists of terms: first + sum_s a_s k_s, a slope read once for all of them."""
        totals = [first or [ir.Constant(LANE, None) for _ in places] for _ in several]
        for s in sorted({s for terms in several for s, _ in terms}):
            rows = self.read(self.vector(self.plan.slopes + s), places)
            for i, terms in enumerate(several):
                for a in (a for slope, a in terms if slope == s):
                    factor = ir.Constant(LANE, [DOUBLE(a)] * LANES)
                    totals[i] = [
                        self.builder.call(self.fma, [factor, row, t]) for row, t in zip(rows, totals[i], strict=True)
                    ]
        return totals

    def moved(self, places: list[Any], totals: list[Any]) -> list[Any]:
        """y + h total."""
        old = self.read(self.state, places)
        return [self.builder.call(self.fma, [self.h, total, y]) for total, y in zip(totals, old, strict=True)]

    def combined(self, places: list[Any], terms: Terms) -> list[list[Any]]:
        """A stage."""
        return [self.moved(places, *self.sums(places, terms))]

    def both(self, places: list[Any], terms: Terms, after: Terms) -> list[list[Any]]:
        """A stage, and the sum of the next one as far as it is known."""
        now, later = self.sums(places, terms, after)
        return [self.moved(places, now), later]

    def second(self, places: list[Any], last: Terms) -> list[list[Any]]:
        """A stage whose sum lacks the last term."""
        return [self.moved(places, *self.sums(places, last, first=self.read(self.end, places)))]

    def decayed(self, places: list[Any], slope: Any) -> list[list[Any]]:
        """weight_decay w + the slope."""
        pairs = zip(self.read(self.stage, places), self.read(slope, places), strict=True)
        return [[self.builder.call(self.fma, [self.decay, w, k]) for w, k in pairs]]

    def finish(self) -> None:
        """The end of the step, and its errors in tolerances, squared and added up in each lane."""
        builder = self.builder
        relative, absolute = (load(builder, self.head, LANES * (self.plan.tolerances + i)) for i in (0, 1))
        one = ir.Constant(LANE, [DOUBLE(1.0)] * LANES)
        for row in (norm + part for norm in self.plan.norms for part in range(self.members)):
            store(builder, ir.Constant(LANE, None), self.head, LANES * row)

        def rows(places: list[Any]) -> None:
            move, *errors = self.sums(places, *self.plan.ending)
            inverses = []
            for place, old, value in zip(places, self.read(self.state, places), self.moved(places, move), strict=True):
                self.write(self.end, place, value)
                size = called(builder, "maxnum", called(builder, "fabs", old), called(builder, "fabs", value))
                inverses.append(builder.fdiv(one, builder.call(self.fma, [relative, size, absolute])))
            for row, error in zip(self.plan.norms, errors, strict=True):
                norms = [load(builder, self.head, LANES * (row + part)) for part in range(self.members)]
                for i, (x, inverse) in enumerate(zip(error, inverses, strict=True)):
                    scaled, part = builder.fmul(x, inverse), i % self.members
                    norms[part] = builder.call(self.fma, [scaled, scaled, norms[part]])
                for part, norm in enumerate(norms):
                    store(builder, norm, self.head, LANES * (row + part))

        beside = max(BESIDE, self.members)  # so that rows of a group belong to different parts
        groups, rest = divmod(self.rows, beside)
        places = lambda first, count: [builder.add(first, I64(LANES * i)) for i in range(count)]
        repeat(builder, groups, lambda group: rows(places(builder.mul(group, I64(LANES * beside)), beside)))
        if rest:
            rows(places(I64(LANES * (self.rows - rest)), rest))
