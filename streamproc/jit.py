"""The one way in which kernels are compiled and cached.

A cached kernel is only good for the sources it was compiled from, and numba looks at no more than the file that
holds the outer function. So the cache folder's name carries a hash of every module that holds kernels.
"""

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def _sources_hash() -> str:
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        text = source.read_bytes()
        if b"streamproc.jit" in text or source == Path(__file__):
            digest.update(text)
    return digest.hexdigest()


@functools.cache
def cache_directory() -> Path:
    """Folder of the compiled kernels: `STREAMPROC_CACHE_DIR`, else the user's cache, else (read-only home) the temporary folder."""
    given = os.environ.get("STREAMPROC_CACHE_DIR")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamproc"
    folder = base / f"kernels-{_sources_hash()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"streamproc-{os.getuid()}" / folder.name
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_compiled(function: Callable[..., Any]) -> bool:
    """Whether a compiled form of the kernel lies in the cache (of whatever CPU: a hint for a message, no more)."""
    return any(cache_directory().rglob(f"*.{function.__name__}-*.nbi"))


def kernel(function: F) -> F:
    """Compile `function` as an entry from Python: no objects, no GIL, IEEE-exact (no fastmath), cached on disk."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_directory())
    try:
        return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function))
    finally:
        numba.config.CACHE_DIR = before


def part(function: F) -> F:
    """Compile `function` as a part of kernels only: no entry from Python, hence half the time to compile."""
    return cast(F, numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function))


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


load_u8 = intrinsic(_loader(8))
"""`load_u8(buffer, i) -> int64`: byte i of a uint8 array, without the test for negative indices that indexing makes."""

load_u64 = intrinsic(_loader(64))
"""`load_u64(buffer, i) -> int64`: the 8 bytes from i on as a little-endian word, unaligned."""
