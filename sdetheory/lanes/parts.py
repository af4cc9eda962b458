"""Compiling kernels as parts: code that is linked into an entry point, and optimised and translated there only.

Numba makes machine code of every jitted function, although a kernel called from compiled code is copied into
its caller, optimised again with it, and so on up to the entry point: a small function deep down is compiled as
often as it is deep.  A part is typed and lowered once; the entry point does the rest for the whole.
"""

import weakref
from typing import Any

import llvmlite.binding as llvm
from numba import njit
from numba.core import cgutils
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

_ENVIRONMENT = "_ZN08NumbaEnv"


class Part(JITCodeLibrary):
    """The code of one kernel and of what it calls, as lowered; linked into callers, and never run by itself."""

    def add_llvm_module(self, module: Any) -> None:
        """Take it as it is."""
        module.data_layout = self._codegen._data_layout
        self._final_module.link_in(module)

    def finalize(self) -> None:
        """Link what it calls; no passes and no machine code."""
        self._raise_if_finalized()
        self._define_environments()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """None: Python cannot call a part."""
        self._ensure_finalized()
        return 0

    def _define_environments(self) -> None:
        """Numba writes the kernel's environment to a global variable: the one the linked copies refer to."""
        names = [g.name for g in self._final_module.global_variables if g.name.startswith(_ENVIRONMENT)]
        module = self._codegen._create_empty_module(f"{self.name}.environment")
        for name in names:
            variable = cgutils.ir.GlobalVariable(module, cgutils.voidptr_t, name)
            variable.linkage, variable.initializer = "common", cgutils.voidptr_t(None)
        compiled = llvm.parse_assembly(str(module))
        cleanup = self._codegen._add_module(compiled)
        if cleanup:
            weakref.finalize(self, cleanup)
        self._codegen._engine.finalize_object()


class PartCompiler(Compiler):
    """Numba's compiler, with a part as its result."""

    def define_pipelines(self) -> Any:
        """The usual passes."""
        if self.state.library is None:
            self.state.library = Part(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


OPTIONS: Any = {
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
    "no_cpython_wrapper": True,
    "pipeline_class": PartCompiler,
}
part = njit(**OPTIONS)  # for functions called from compiled code only
