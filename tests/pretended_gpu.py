"""A GPU that is not there: tensors that say they lie on it, are held by the CPU, and refuse to meet those of the host.

Shows without a GPU whether a computation stays on one: whatever is made on the host by mistake is an error here, as it
is there. What only a real one does, CUDA graphs and its own libraries, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
_ROOM = 2**33  # bytes
# What a GPU takes from the host as it is, and what only the host has.
_ACROSS = {Tensor.copy_, Tensor.to, Tensor.cuda, Tensor.cpu, Tensor.type_as, Tensor.__getitem__}
_OF_THE_HOST = {Tensor.numpy, Tensor.__array__, Tensor.data_ptr}


class OnGpu(Tensor):
    """A tensor that says it is there."""

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any function of torch that such a tensor is given to."""
        return _called(function, args, kwargs or {})


class _Everywhere(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _called(function, args, kwargs or {})


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """`device=cuda` is there, and whatever torch computes in this thread is computed where it would be."""
    state: dict[str, Any] = {"mem_get_info": lambda *_: (_ROOM, _ROOM), "get_device_name": lambda *_: ""}
    state |= dict.fromkeys(("memory_reserved", "memory_allocated", "max_memory_allocated"), lambda *_: 0)
    state |= {"is_available": lambda: True, "is_current_stream_capturing": lambda: False}
    no_library = patch("lorafold.geometry.eigen.batched_eigh", lambda form: None)
    no_graph = patch("lorafold.common.cuda_graph._cuda_graph", _no_graph)
    with patch.multiple(torch.cuda, **state), no_library, no_graph, _Everywhere():
        yield


def _no_graph(once: Callable[[], None]) -> Callable[[], None]:
    raise RuntimeError("nothing can be recorded")


def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if function is torch.device:
        return function(*args, **kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there: list[Tensor] = [tensor for tensor in tensors if isinstance(tensor, OnGpu)]
    _refuse_strangers(function, there, [one for one in tensors if not isinstance(one, OnGpu) and one.dim()])
    held = {id(tensor): tensor.as_subclass(Tensor) for tensor in there}
    of_held = {id(held[id(tensor)]): tensor for tensor in there}  # what is changed in place stays the same object

    def on_host(value: Any) -> Any:
        if isinstance(value, Tensor):
            return held.get(id(value), value)
        return torch.device("cpu") if _place(value) else value

    def back(value: Any) -> Any:
        return of_held.get(id(value), value.as_subclass(OnGpu)) if isinstance(value, Tensor) else value

    kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}
    moves = function in (Tensor.cuda, Tensor.cpu)
    result = on_host(args[0]).clone() if moves else function(*tree_map(on_host, args), **tree_map(on_host, kwargs))
    return tree_map(back, result) if _lands_there(function, args, kwargs, there) else _apart(result, of_held)


def _refuse_strangers(function: Callable[..., Any], there: list[Tensor], here: list[Tensor]) -> None:
    if there and (function in _OF_THE_HOST or (here and function not in _ACROSS)):
        shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (there, here)]
        raise RuntimeError(f"{function}: tensors {shapes[0]} on the GPU, {shapes[1]} on the host")


def _lands_there(function: Callable[..., Any], args: Any, kwargs: dict[str, Any], there: list[Tensor]) -> bool:
    if function in (Tensor.cuda, Tensor.cpu):
        return function is Tensor.cuda
    if places := [torch.device(value) for value in (*args, *kwargs.values()) if _place(value)]:
        return places[0].type == "cuda"
    if function is Tensor.to and len(args) > 1 and isinstance(args[1], Tensor):
        return isinstance(args[1], OnGpu)
    if function is Tensor.copy_:
        return isinstance(args[0], OnGpu)
    return bool(there)


def _place(value: Any) -> bool:
    """Whether this names a device."""
    return isinstance(value, torch.device) or (isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda"))


def _apart(result: Any, of_held: dict[int, Tensor]) -> Any:
    """A copy on the host is one, though `to` saw nothing to do."""
    return result.clone() if isinstance(result, Tensor) and id(result) in of_held else result
