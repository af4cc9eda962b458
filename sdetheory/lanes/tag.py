"""The first argument of compiled entry points: its type tells plug-in classes and their registrations apart.

Within a process Numba's dispatcher confuses classes of one name from two modules, and compiles once for given types
whatever the verbs do later.  The type of a tag differs where the classes differ, and when a kernel is registered again.
Between processes `lanes.cache` looks at the sources instead.
"""

from typing import Any

from numba import types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

from sdetheory.lanes.dispatch import VERBS
from sdetheory.lanes.sources import plugin_classes


class Tag:
    """Carries the state of the registrations into a compiled function."""

    def __init__(self, state: tuple) -> None:
        self.state = state


class TagType(types.Type):
    """The Numba type of a tag: equal states, equal types."""

    def __init__(self, state: tuple) -> None:
        self.state = state
        super().__init__("Tag")

    @property
    def key(self) -> tuple:
        """What tells two of these types apart."""
        return self.state


register_model(TagType)(models.OpaqueModel)


@typeof_impl.register(Tag)
def _typeof_tag(tag: Tag, context: Any) -> TagType:
    return TagType(tag.state)


@unbox(TagType)
def _unbox_tag(typ: TagType, value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


def tag(*plugins: Any) -> Tag:
    """The tag for a combination of plug-ins: their classes, and how often their kernels were replaced."""
    classes = sorted(set(plugin_classes([plugins])), key=lambda c: (c.__module__, c.__qualname__))
    return Tag(tuple((c, sum(v.again.get(c, 0) for v in VERBS)) for c in classes))
