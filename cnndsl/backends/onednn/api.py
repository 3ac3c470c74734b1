"""oneDNN's C interface: its numbers, its prototypes, and handles that free themselves.

Source: `dnnl.h` and `dnnl_types.h` of version 3, https://uxlfoundation.github.io/oneDNN/.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from functools import cache
from typing import Any

from cnndsl.backends.onednn.library import load


class Data(IntEnum):
    """dnnl_data_type_t"""

    BF16 = 2
    F32 = 3
    U8 = 6


class Tag(IntEnum):
    """dnnl_format_tag_t"""

    ANY = 1
    CHANNELS_BY_16 = 78
    CHANNELS_BY_8 = 102


class Propagation(IntEnum):
    """dnnl_prop_kind_t"""

    TRAINING = 64
    INFERENCE = 96
    BACKWARD = 128


class Algorithm(IntEnum):
    """dnnl_alg_kind_t"""

    CONVOLUTION_DIRECT = 1
    RELU = 32
    TANH = 33
    ELU = 34
    SQUARE = 35
    LINEAR = 38
    HARDSIGMOID = 40
    LOGISTIC = 41
    EXPONENTIAL = 42
    SWISH = 44
    LOGARITHM = 45
    CLIP = 47
    GELU = 49
    HARDSWISH = 52
    RELU_BY_RESULT = 256
    TANH_BY_RESULT = 257
    ELU_BY_RESULT = 258
    LOGISTIC_BY_RESULT = 260
    CLIP_BY_RESULT = 262
    POOLING_MAX = 511
    POOLING_AVERAGE_WITH_PADDING = 767
    POOLING_AVERAGE = 1023
    LRN_ACROSS_CHANNELS = 2815
    BINARY_ADD = 131056
    BINARY_MULTIPLY = 131057


class Normalization(IntFlag):
    """dnnl_normalization_flags_t"""

    GLOBAL_STATISTICS = 1
    SCALE = 2
    SHIFT = 4
    RELU = 8


class Query(IntEnum):
    """dnnl_query_t"""

    IMPLEMENTATION = 8
    STRIDES = 14
    SOURCE = 129
    SOURCE_GRADIENT = 130
    WEIGHTS = 131
    WEIGHTS_GRADIENT = 132
    RESULT = 133
    RESULT_GRADIENT = 134
    WORKSPACE = 135
    SCRATCHPAD = 136
    DIMENSIONS = 256
    SIZES = 257
    PADDED_SIZES = 260
    FORMAT_KIND = 262
    BLOCK_COUNT = 263
    BLOCK_SIZES = 264
    BLOCK_AXES = 265


class Argument(IntEnum):
    """What a memory is to a primitive: the DNNL_ARG_ numbers."""

    SOURCE = 1
    SOURCE_1 = 2
    RESULT = 17
    WEIGHTS = 33
    BIAS = 41
    MEAN = 49
    VARIANCE = 50
    SCALE = 51
    SHIFT = 52
    WORKSPACE = 64
    SCRATCHPAD = 80
    SOURCE_GRADIENT = 129
    RESULT_GRADIENT = 145
    WEIGHTS_GRADIENT = 161
    BIAS_GRADIENT = 169
    SCALE_GRADIENT = 255
    SHIFT_GRADIENT = 256
    SEVERAL = 1024
    POST_OPERATION = 32768

    @staticmethod
    def of_post_operation(place: int) -> int:
        """The second source of a binary post-operation."""
        return Argument.POST_OPERATION * (place + 1) | Argument.SOURCE_1


#: dnnl_format_kind_t: descriptors that strides and blocks say all of.
BLOCKED = 2
#: dnnl_scratchpad_mode_t: the caller brings the scratchpad.
SCRATCHPAD_OF_USER = 1
#: The most axes of a descriptor.
AXES = 12

STATUS = {
    1: "out of memory",
    2: "invalid arguments",
    3: "not implemented",
    4: "no more implementations",
    5: "an error while running",
    6: "not required",
}

#: Prototypes behind the name: pointer p, int i, unsigned I, float f, int64 q, size_t z.
PROTOTYPES = {
    "engine_create": "piz",
    "stream_create": "ppI",
    "memory_create": "pppp",
    "memory_destroy": "p",
    "memory_desc_create_with_tag": "pipii",
    "memory_desc_create_with_strides": "pipip",
    "memory_desc_create_submemory": "pppp",
    "memory_desc_clone": "pp",
    "memory_desc_destroy": "p",
    "memory_desc_query": "pip",
    "primitive_attr_create": "p",
    "primitive_attr_destroy": "p",
    "primitive_attr_set_scratchpad_mode": "pi",
    "primitive_attr_set_post_ops": "pp",
    "post_ops_create": "p",
    "post_ops_destroy": "p",
    "post_ops_append_sum": "pfii",
    "post_ops_append_eltwise": "piff",
    "post_ops_append_binary": "pip",
    "primitive_desc_query": "piip",
    "primitive_desc_destroy": "p",
    "primitive_create": "pp",
    "primitive_destroy": "p",
    "primitive_execute": "ppip",
    "reorder_primitive_desc_create": "pppppp",
    "concat_primitive_desc_create": "pppiipp",
    "binary_primitive_desc_create": "ppipppp",
    "convolution_forward_primitive_desc_create": "ppiippppppppp",
    "convolution_backward_data_primitive_desc_create": "ppippppppppp",
    "convolution_backward_weights_primitive_desc_create": "ppipppppppppp",
    "inner_product_forward_primitive_desc_create": "ppippppp",
    "inner_product_backward_data_primitive_desc_create": "ppppppp",
    "inner_product_backward_weights_primitive_desc_create": "pppppppp",
    "eltwise_forward_primitive_desc_create": "ppiippffp",
    "eltwise_backward_primitive_desc_create": "ppipppffpp",
    "pooling_forward_primitive_desc_create": "ppiipppppppp",
    "pooling_backward_primitive_desc_create": "ppippppppppp",
    "lrn_forward_primitive_desc_create": "ppiippqfffp",
    "batch_normalization_forward_primitive_desc_create": "ppippfIp",
    "batch_normalization_backward_primitive_desc_create": "ppipppfIpp",
}
_C_TYPES: dict[str, Any] = {
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "f": ctypes.c_float,
    "q": ctypes.c_int64,
    "z": ctypes.c_size_t,
}


class Failure(RuntimeError):
    """oneDNN refuses a call."""


class ExecutionArgument(ctypes.Structure):
    """dnnl_exec_arg_t"""

    _fields_ = [("argument", ctypes.c_int), ("memory", ctypes.c_void_p)]


def _checked(status: int, called: Any, arguments: Any) -> None:
    """Raise a Failure unless a call succeeded."""
    if status:
        raise Failure(f"oneDNN: {STATUS.get(status, status)}")


@cache
def function(name: str) -> Any:
    """A function of the interface by its name without `dnnl_`; it raises a Failure."""
    found = getattr(load(), f"dnnl_{name}")
    found.argtypes = [_C_TYPES[code] for code in PROTOTYPES[name]]
    found.restype, found.errcheck = ctypes.c_int, _checked
    return found


@cache
def descriptor_size() -> Any:
    """dnnl_memory_desc_get_size: the bytes that a memory of a descriptor takes."""
    found = load().dnnl_memory_desc_get_size
    found.argtypes, found.restype = [ctypes.c_void_p], ctypes.c_size_t
    return found


@cache
def descriptor_query() -> Any:
    """dnnl_primitive_desc_query_md: a memory descriptor of a primitive, borrowed; or null."""
    found = load().dnnl_primitive_desc_query_md
    found.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    found.restype = ctypes.c_void_p
    return found


class Handle:
    """An object of the library, destroyed with the last reference to it.

    `keeps` are the objects that it needs as long.
    """

    __slots__ = ("_as_parameter_", "_destroy", "_keeps")

    def __init__(self, destroy: str, creator: str, *arguments: Any, keeps: Sequence[Any] = ()):
        pointer = ctypes.c_void_p()
        function(creator)(ctypes.byref(pointer), *arguments)
        self._as_parameter_ = pointer
        self._destroy = function(destroy) if destroy else None
        self._keeps = keeps

    def __del__(self) -> None:
        destroy = getattr(self, "_destroy", None)
        if destroy is not None:
            destroy(self._as_parameter_)

    @property
    def address(self) -> int | None:
        return self._as_parameter_.value


@cache
def engine() -> Handle:
    """The processor."""
    return Handle("", "engine_create", 1, 0)


@cache
def stream() -> Handle:
    """The order in which primitives are executed: one after another."""
    return Handle("", "stream_create", engine(), 1)


def integers(values: Sequence[int]) -> Any:
    """Numbers as dnnl_dims_t."""
    return (ctypes.c_int64 * AXES)(*values)
