"""The one way in which kernels are compiled and cached.

A cached kernel is only good for the sources it was compiled from: its own module and all of this package that the
module imports, for constants are compiled in. numba looks at no more than the function's own file, so the cache
folder's name carries their hash.
"""

import contextlib
import functools
import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import CacheImpl, UserProvidedCacheLocator
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import intrinsic
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Doubles: TypeAlias = NDArray[np.float64]
StructArray: TypeAlias = NDArray[Any]
"""An array of a structured dtype."""
Struct: TypeAlias = Any
"""An element of such an array, by reference: kernels read and set its fields, which its dtype alone knows."""

_PACKAGE = Path(__file__).parent
_IMPORTED = re.compile(rb"^(?:from|import) (streamproc[\w.]*)", re.MULTILINE)


def _source_of(module: str) -> Path:
    if module.partition(".")[0] != _PACKAGE.name:  # one whose kernels take parts of this package, as a benchmark's
        return Path(sys.modules[module].__file__ or "")
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _imports(module: str) -> frozenset[str]:
    source = _source_of(module)
    text = source.read_bytes() if source.exists() else b""
    return frozenset(name.decode() for name in _IMPORTED.findall(text))


@functools.cache
def _sources_hash(module: str) -> str:
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    found, fresh = {module, __name__}, {module}
    while fresh:
        fresh = {name for known in fresh for name in _imports(known)} - found
        found |= fresh
    for name in sorted(found):
        if _source_of(name).exists():
            digest.update(_source_of(name).read_bytes())
    return digest.hexdigest()


@functools.cache
def _cache_directory(module: str) -> Path:
    given = os.environ.get("STREAMPROC_CACHE_DIR")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamproc"
    folder = base / "kernels" / f"{module.removeprefix('streamproc.')}-{_sources_hash(module)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = _own_temporary_folder() / folder.name
        folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def _own_temporary_folder() -> Path:
    """Where kernels are kept when there is no better place; no one else may have put code there."""
    folder = Path(tempfile.gettempdir()) / f"streamproc-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="streamproc-"))


class _ReadOnlyCacheLocator(UserProvidedCacheLocator):
    """Finds kernels in a folder that cannot be written to, as in an image: numba itself passes over such ones."""

    def ensure_cache_path(self) -> None:
        if not os.path.isdir(self._cache_path):
            raise FileNotFoundError


def _keep_nothing(_signature: Any, _compiled: Any) -> None:
    """In place of saving to a folder that cannot be written to: this process alone has what it compiles."""


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether the cache holds a compiled form of a kernel (of whatever CPU: a hint for a message, no more)."""
    cache = Path(cast(Any, function)._cache.cache_path)
    return any(cache.glob(f"*.{function.__name__}-*.nbi"))


_KERNEL: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# What gets all its arrays from its caller, who holds them for as long as a call lasts, and allocates none needs no
# counting of references, without which it runs twice as fast.
_UNCOUNTED = _KERNEL | {"_nrt": False}


class _PartLibrary(JITCodeLibrary):
    """A part's code as it was lowered, to be linked into others.

    numba would optimise it, emit machine code that nothing calls, and do so again for each part that it is linked into.
    So only kernels are optimised, with all their parts in them, which takes a third off the first start.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        self._ensure_finalized()  # type: ignore[no-untyped-call]
        return 0

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, _name: str, _env: Any) -> None:
        """Environments are for exceptions and objects, which no part has."""


class _PartCompiler(Compiler):
    def define_pipelines(self) -> Any:
        codegen, name = self.state.targetctx.codegen(), self.state.func_id.func_qualname
        self.state.library = _PartLibrary(codegen, name)  # type: ignore[no-untyped-call]
        return super().define_pipelines()  # type: ignore[no-untyped-call]


def kernel(function: F) -> F:
    """Compile `function` as an entry from Python: no objects, no GIL, IEEE-exact (no fastmath).

    The machine code is kept in `STREAMPROC_CACHE_DIR`, else in the user's cache, else, where home is read-only, in the
    temporary folder.
    """
    return _cached(function, _KERNEL)


def hot_kernel(function: F) -> F:
    """A kernel that makes no array and assigns no slice, and is the faster for it."""
    return _cached(function, _UNCOUNTED)


def _cached(function: F, options: dict[str, Any]) -> F:
    with _in_folder(_cache_directory(function.__module__)):
        compiled: Any = numba.njit(cache=True, **options)(function)
    if isinstance(compiled._cache._impl.locator, _ReadOnlyCacheLocator):
        compiled._cache.save_overload = _keep_nothing
    return cast(F, compiled)


@contextlib.contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """What is made of functions within this is kept in that folder, and nowhere else."""
    config = vars(numba.config)
    before = config["CACHE_DIR"], CacheImpl._locator_classes
    config["CACHE_DIR"] = str(folder)
    CacheImpl._locator_classes = [UserProvidedCacheLocator, _ReadOnlyCacheLocator]
    try:
        yield
    finally:
        config["CACHE_DIR"], CacheImpl._locator_classes = before


_PART = _UNCOUNTED | {"no_cpython_wrapper": True, "pipeline_class": _PartCompiler}


def part(function: F) -> F:
    """Compile `function` as a part of kernels only: no entry from Python, no machine code of its own."""
    return cast(F, numba.njit(**_PART)(function))


def inlined(function: F) -> F:
    """A part that is copied to where it is called.

    For what runs at each record and takes many arrays, each of which is ten arguments.
    """
    return cast(F, numba.njit(**_PART, forceinline=True)(function))


def _loader(bits: int) -> Callable[..., Any]:
    def load(_context: Any, array: Any, _index: Any) -> Any:
        signature = types.int64(array, types.int64)

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(bits).as_pointer())
            loaded = builder.load(pointer)
            loaded.align = 1
            return builder.zext(loaded, ir.IntType(64)) if bits < 64 else loaded

        return signature, codegen

    return load


load_u8 = cast(Callable[[Bytes, int], int], intrinsic(_loader(8)))
"""`load_u8(buffer, i) -> int64`: byte i of a uint8 array, without the test for negative indices that indexing makes."""

load_u64 = cast(Callable[[Bytes, int], int], intrinsic(_loader(64)))
"""`load_u64(buffer, i) -> int64`: the 8 bytes from i on as a little-endian word, unaligned."""


def _prefetch(_context: Any, array: Any, _index: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(rows.strides, 0)
        byte = ir.IntType(8).as_pointer()
        row = builder.gep(builder.bitcast(rows.data, byte), [builder.mul(arguments[1], stride)])
        word = ir.IntType(32)
        into = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        fetch = builder.module.globals.get("llvm.prefetch.p0i8") or ir.Function(
            builder.module, into, "llvm.prefetch.p0i8"
        )
        to_write, keep_near, data = word(1), word(3), word(1)
        with cgutils.for_range_slice(builder, stride.type(0), stride, stride.type(CACHE_LINE)) as (offset, _):
            builder.call(fetch, [builder.gep(row, [offset]), to_write, keep_near, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


CACHE_LINE = 64

prefetch = cast(Callable[[NDArray[Any], int], None], intrinsic(_prefetch))
"""`prefetch(array, i)`: ask for the cache lines of row i of an array, and wait for none of them."""
