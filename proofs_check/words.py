"""Matrices of any size: words of letters and their transposes, traces up to rotation and transposition."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sympy as sp

from proofs_check.judge import Given, Verdict, zero

Word = tuple[tuple[str, bool], ...]


class Words(dict[Word, Any]):
    """word -> coefficient; a word is a tuple of (letter, transposed)."""

    _op_priority = 20  # sympy scalars on the left leave the product to __rmul__

    def __add__(self, other: Mapping[Word, Any]) -> "Words":
        return Words({k: self.get(k, 0) + other.get(k, 0) for k in {**self, **other}})

    def __rmul__(self, scalar: Any) -> "Words":
        return Words({k: scalar * v for k, v in self.items()})

    def __neg__(self) -> "Words":
        return -1 * self

    def __sub__(self, other: "Words") -> "Words":
        return self + (-other)

    def __matmul__(self, other: "Words") -> "Words":
        return collect((x + y, a * b) for x, a in self.items() for y, b in other.items())

    @property
    def T(self) -> "Words":
        """The transpose."""
        return Words({turn(k): v for k, v in self.items()})


IDENTITY = Words({(): sp.S.One})


def turn(word: Word) -> Word:
    """The transposed word."""
    return tuple((name, not transposed) for name, transposed in reversed(word))


def collect(pairs: Iterable[tuple[Word, Any]]) -> Words:
    """The sum of coefficient * word."""
    out = Words()
    for word, coefficient in pairs:
        out[word] = out.get(word, 0) + coefficient
    return out


def matrices(names: str) -> list[Words]:
    """One matrix per name."""
    return [Words({((name, False),): sp.S.One}) for name in names.split()]


def trace(words: Words) -> Words:
    """tr: words up to cyclic rotation and transposition."""

    def key(word: Word) -> Word:
        return min([u[i:] + u[:i] for u in (word, turn(word)) for i in range(len(word))] or [()])

    return collect((key(k), v) for k, v in words.items())


def gradient(words: Words, name: str) -> Words:
    """The gradient of tr(words) in the letter for the Frobenius inner product, occurrence by occurrence."""
    out = Words()
    for word, coefficient in words.items():
        for i, (letter, transposed) in enumerate(word):
            if letter == name:
                rest = word[i + 1 :] + word[:i]
                out = out + Words({(rest if transposed else turn(rest)): coefficient})
    return out


def derive(words: Words, table: Mapping[str, Words]) -> Words:
    """Leibniz: the derivative of each letter from a table, other letters constant."""
    out = Words()
    for word, coefficient in words.items():
        for i, (letter, transposed) in enumerate(word):
            if letter in table:
                rate = table[letter].T if transposed else table[letter]
                out = out + Words({word[:i]: coefficient}) @ rate @ Words({word[i + 1 :]: sp.S.One})
    return out


def rewrite(words: Words, rules: Sequence[tuple[Word, Words]], limit: int = 10_000) -> Words:
    """Replace subwords until no rule applies; RecursionError when that does not end."""
    todo, done = list(words.items()), Words()
    while todo:
        limit -= 1
        if limit < 0:
            raise RecursionError("rewriting did not end")
        word, coefficient = todo.pop()
        for left, right in rules:
            n = len(left)
            spot = next((i for i in range(len(word) - n + 1) if word[i : i + n] == left), None)
            if spot is not None:
                todo += [(word[:spot] + k + word[spot + n :], coefficient * v) for k, v in right.items()]
                break
        else:
            done = collect([*done.items(), (word, coefficient)])
    return done


def vanish(label: str, words: Words, hypotheses: Given | tuple[()] = ()) -> list[Verdict]:
    """One check per word: its coefficient is zero, so the identity holds for matrices of every size."""
    return [zero(f"{label}: coefficient of {show(k)}", v, hypotheses) for k, v in words.items()]


def show(word: Word) -> str:
    """The word as text: A'B, or I."""
    return "".join(name + "'" * transposed for name, transposed in word) or "I"
