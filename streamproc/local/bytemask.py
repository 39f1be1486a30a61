"""Where byte patterns begin among the next 64 bytes, as bits of a word: so kernels pass over what does not matter."""

from collections.abc import Callable
from functools import reduce
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WIDTH = 64
"""Bytes looked at together."""

_WORD = ir.IntType(WIDTH)
_BLOCK = ir.VectorType(ir.IntType(8), WIDTH)


def starts_of(*patterns: bytes) -> Callable[..., int]:
    """An intrinsic `starts(buffer, i) -> int64`: bit k tells whether one of the patterns begins at byte i + k.

    It reads `WIDTH` bytes, and one less than the longest pattern more, from i on; they must be there. LLVM makes of it
    the vector instructions that the machine has.
    """

    def starts(_context: Any, array: Any, _index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            begin = builder.gep(data, [arguments[1]])

            def block(offset: int) -> Any:
                pointer = builder.gep(begin, [ir.Constant(_WORD, offset)])
                return builder.load(builder.bitcast(pointer, _BLOCK.as_pointer()), align=1)

            blocks = [block(offset) for offset in range(max(map(len, patterns)))]

            def found(pattern: bytes) -> Any:
                equal = (
                    builder.icmp_unsigned("==", blocks[offset], ir.Constant(_BLOCK, [byte] * WIDTH))
                    for offset, byte in enumerate(pattern)
                )
                return reduce(builder.and_, equal)

            return builder.bitcast(reduce(builder.or_, map(found, patterns)), _WORD)

        return types.int64(array, types.int64), codegen

    return cast(Callable[..., int], intrinsic(starts))


def _lowest_bit(_context: Any, _word: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


lowest_bit = cast(Callable[[int], int], intrinsic(_lowest_bit))
"""`lowest_bit(word) -> int64`: the number of the lowest bit that is set; there must be one."""
