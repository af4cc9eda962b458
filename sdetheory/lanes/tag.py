"""The first argument of compiled entry points: its type tells plug-in classes apart.

Numba's dispatcher confuses NamedTuple classes of one name from two modules (seen with 0.68: the second one
ran the kernels of the first).  The type of a tag holds the classes themselves, so that it differs where they
do.
"""

from typing import Any

from numba import types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox

from sdetheory.lanes.sources import plugin_classes


class Tag:
    """Carries the classes of the plug-ins into a compiled function."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self.classes = classes


class TagType(types.Type):
    """The Numba type of a tag: the same classes, the same type."""

    def __init__(self, classes: tuple[type, ...]) -> None:
        self.classes = classes
        super().__init__("Tag")

    @property
    def key(self) -> tuple[type, ...]:
        """What tells two of these types apart."""
        return self.classes


register_model(TagType)(models.OpaqueModel)


@typeof_impl.register(Tag)
def _typeof_tag(tag: Tag, context: Any) -> TagType:
    return TagType(tag.classes)


@unbox(TagType)
def _unbox_tag(typ: TagType, value: Any, c: Any) -> NativeValue:
    return NativeValue(c.context.get_dummy_value())


def tag(*plugins: Any) -> Tag:
    """The tag for a combination of plug-ins: NamedTuples, nested ones and tuples of them included."""
    return Tag(tuple(sorted(set(plugin_classes([plugins])), key=lambda c: (c.__module__, c.__qualname__))))
