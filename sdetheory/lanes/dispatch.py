"""Verbs: generic functions that pick a kernel by the class of their first argument, compiled or not.

How to use it.  A plug-in is a NamedTuple of parameters; a kernel is a plain function, registered for one
class::

    gradient = verb("gradient", "model", "w", "out", "work")

    @gradient.of(Rayleigh)
    def _rayleigh(model, w, out, work):
        ...

    gradient(Rayleigh(a), w, out, work)       # from Python and from any jitted function

Inside compiled code the choice is made at compile time (no cost at run time).  `gradient.of` returns the
plain function, so it stays importable and testable; `gradient.kernel(Rayleigh)` is the jitted one.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from numba import njit, types
from numba.core import errors
from numba.core.imputils import lower_constant
from numba.extending import models, register_model, typeof_impl

from sdetheory.lanes.parts import part

Kernel = TypeVar("Kernel", bound=Callable)


class Verb:
    """A generic function with one kernel a class; `default` serves classes that registered none."""

    def __init__(self, name: str, arguments: tuple[str, ...], default: Callable | None = None) -> None:
        self.__name__ = name
        self.arguments = arguments
        self.kernels: dict[type, Callable] = {}
        self._callable: dict[
            Callable, Callable
        ] = {}  # kernels that Python may call: kept apart, they compile longer
        self.settled: set[type] = set()  # classes for which compiled code exists that calls this verb
        self.default = None if default is None else _jit(default)

    def __call__(self, *arguments: Any) -> Any:
        kernel = self.kernel(type(arguments[0]))
        plain = getattr(kernel, "py_func", kernel)
        if plain not in self._callable:
            self._callable[plain] = njit(error_model="numpy")(plain)
        return self._callable[plain](*arguments)

    def python(self, *arguments: Any) -> Any:
        """Call the kernel's plain Python body: for sizes and single numbers, where compiling would cost
        more.
        """
        kernel = self.kernel(type(arguments[0]))
        return getattr(kernel, "py_func", kernel)(*arguments)

    def __repr__(self) -> str:
        return f"<verb {self.__name__}({', '.join(self.arguments)})>"

    def of(self, *classes: type) -> Callable[[Kernel], Kernel]:
        """Decorator: register the function as this verb's kernel for the classes.

        Raises TypeError for the wrong number of arguments, or where a class has a kernel already.
        """

        def register(function: Kernel) -> Kernel:
            wanted, got = len(self.arguments), function.__code__.co_argcount
            if got != wanted:
                raise TypeError(
                    f"a kernel of `{self.__name__}` takes ({', '.join(self.arguments)}): "
                    f"{function.__name__} takes {got} arguments"
                )
            kernel = _jit(function)
            for cls in classes:
                if cls in self.kernels or cls in self.settled:
                    raise TypeError(
                        f"{cls.__name__} already has a `{self.__name__}` kernel, which compiled code "
                        f"goes on using: define a new class for a new kernel"
                    )
                self.kernels[cls] = kernel
            _COUNT.append(None)
            return function

        return register

    def has(self, plugin: Any) -> bool:
        """Did the plug-in's class register its own kernel?"""
        return type(plugin) in self.kernels

    def has_for_good(self, cls: type) -> bool:
        """Did the class register its own kernel?  Asked while compiling: it cannot do so any more."""
        self.settled.add(cls)
        return cls in self.kernels

    def kernel(self, cls: type) -> Callable:
        """The jitted kernel that serves the class."""
        kernel = self.kernels.get(cls, self.default)
        if kernel is None:
            known = ", ".join(sorted(c.__name__ for c in self.kernels)) or "none"
            raise TypeError(
                f"{cls.__name__} has no `{self.__name__}` kernel: register one with "
                f"@{self.__name__}.of({cls.__name__}); registered: {known}"
            )
        return kernel


def _jit(function: Callable) -> Callable:
    """Numpy's rules for division, and the caller's for everything else; a jitted function is kept."""
    return function if hasattr(function, "py_func") else part(function)


class VerbType(types.Callable, types.Dummy):
    """Numba type of a verb: a call of it *is* a call of the kernel, with no function in between to
    compile.
    """

    def __init__(self, generic: Verb) -> None:
        self.generic = generic
        super().__init__(f"verb({generic.__name__}, {id(generic)})")

    def _chosen(self, arguments: Any) -> Any:
        plugin = getattr(arguments[0], "instance_class", None)
        if plugin is None:
            raise errors.TypingError(f"`{self.generic.__name__}` needs a plug-in first, got {arguments[0]}")
        self.generic.settled.add(plugin)
        kernel: Any = self.generic.kernel(plugin)
        return types.Dispatcher(kernel)

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """Signature of the chosen kernel."""
        return self._chosen(args).get_call_type(context, args, kws)

    def get_impl_key(self, sig: Any) -> Any:
        """Compiled code of the chosen kernel."""
        return self._chosen(sig.args).get_impl_key(sig)

    def get_call_signatures(self) -> Any:
        """None fixed."""
        return (), True


register_model(VerbType)(models.OpaqueModel)
typeof_impl.register(Verb)(lambda generic, context: VerbType(generic))
lower_constant(VerbType)(lambda context, builder, typ, value: context.get_dummy_value())

VERBS: list[Verb] = []
_COUNT: list[None] = []


def settle(classes: Iterable[type]) -> None:
    """Compiled code that asked for the classes' optional kernels was read from disk: none may come any more."""
    optional = [generic for generic in VERBS if generic.default is not None]
    for cls in classes:
        for generic in optional:
            generic.settled.add(cls)


def registrations() -> int:
    """How many kernels have been registered so far."""
    return len(_COUNT)


def verb(name: str, *arguments: str, default: Callable | None = None) -> Verb:
    """Make a generic function of the named arguments; the first one is the plug-in that decides."""
    generic = Verb(name, arguments, default)
    VERBS.append(generic)
    return generic
