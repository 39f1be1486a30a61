"""What kernels that read and write numbers ask of the machine: wide products, bits of words, unaligned stores."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from streamproc.jit import Bytes


def _high(_context: Any, a: Any, b: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


def _leading(_context: Any, a: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), codegen


def _trailing(_context: Any, a: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), codegen


def _word(_context: Any, a: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return types.int64(types.uint64), codegen


def _storer(bits: int) -> Any:
    def store(_context: Any, array: Any, _index: Any, _word: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            stored = ir.IntType(bits)
            pointer = builder.bitcast(builder.gep(data, [arguments[1]]), stored.as_pointer())
            word = builder.trunc(arguments[2], stored) if bits < 64 else arguments[2]
            builder.store(word, pointer, align=1)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.uint64), codegen

    return store


high_word = cast(Callable[[np.uint64, np.uint64], np.uint64], intrinsic(_high))
"""`high_word(a, b) -> uint64`: a b // 2^64."""

leading_zeros = cast(Callable[[np.uint64], int], intrinsic(_leading))
"""`leading_zeros(a) -> int64`: of 0 they are 64."""

trailing_zeros = cast(Callable[[np.uint64], int], intrinsic(_trailing))
"""`trailing_zeros(a) -> int64`: of 0 they are 64."""

as_word = cast(Callable[[np.uint64], int], intrinsic(_word))
"""`as_word(a) -> int64`: the same bits."""

store_u8 = cast(Callable[[Bytes, int, np.uint64 | int], None], intrinsic(_storer(8)))
"""`store_u8(buffer, i, word)`: byte i of a uint8 array becomes the word's lowest, without a test of the index."""

store_u64 = cast(Callable[[Bytes, int, np.uint64 | int], None], intrinsic(_storer(64)))
"""`store_u64(buffer, i, word)`: the 8 bytes from i on become the word, little-endian, unaligned."""
