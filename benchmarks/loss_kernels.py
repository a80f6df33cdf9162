"""How many CUDA kernels a compiled loss launches, forward and backward: lowered by inductor, without a GPU.

    python benchmarks/loss_kernels.py [--code]

Nothing runs on a GPU: the graphs are traced on a CPU and moved to fake tensors of a CUDA device, and the Triton code
that inductor would compile is counted (and printed with `--code`).
"""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor
from torch._functorch.aot_autograd import aot_function, make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.debug import DebugContext
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch._inductor.runtime.hints import DeviceProperties
from torch._inductor.virtualized import V
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from smoothiou.losses import load_loss

BOXES = 512
GPU = DeviceProperties("cuda", 0, 132, 90, 9, 65536, 2048, 1024, 32)


def kernels_of(loss: Callable[..., Tensor]) -> tuple[list[int], list[str]]:
    """Return the launches of the forward and of the backward graph, and the code of both."""
    counts, codes = [], []

    def lower(traced: torch.fx.GraphModule, cpu_inputs: list[Tensor]) -> Callable[..., list[Tensor]]:
        graph, mode = copy.deepcopy(traced), FakeTensorMode()
        for node in graph.graph.nodes:
            if "device" in node.kwargs:
                node.kwargs = {**node.kwargs, "device": torch.device("cuda", 0)}
        with mode:
            inputs = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cuda:0") for x in cpu_inputs]
        FakeTensorProp(graph, mode).propagate(*inputs)
        lowering = GraphLowering(graph, example_inputs=inputs, is_inference=False)
        with (
            mock.patch.object(DeviceProperties, "create", return_value=GPU),
            mock.patch("torch.cuda.get_device_properties", return_value=GPU),
            mock.patch("torch.cuda.get_device_capability", return_value=(9, 0)),
            mock.patch("torch._inductor.scheduler.has_triton", return_value=True),
            mock.patch("torch.utils._triton.triton_hash_with_backend", return_value=""),
            V.set_graph_handler(lowering),
            V.set_extern_kernel_nodes([]),
            V.set_debug_handler(DebugContext()),
        ):
            lowering.run(*inputs)
            code = lowering.codegen()[0].value
        counts.append(len(re.findall(r"^ +\w+\.run\(", code, re.MULTILINE)) + code.count("extern_kernels."))
        codes.append(code)
        return make_boxed_func(traced)

    compiled = aot_function(
        lambda pred, target: loss(pred, target).sum(),
        fw_compiler=lower,
        bw_compiler=lower,
        partition_fn=min_cut_rematerialization_partition,
        decompositions=select_decomp_table(),
    )
    pred = torch.zeros(BOXES, 4, requires_grad=True)
    compiled(pred, torch.zeros(BOXES, 4)).backward()
    return counts, codes


def main() -> None:
    """Print a line for each loss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--losses", default="giou,diou,ciou,smooth-iou")
    parser.add_argument("--code", action="store_true", help="print the Triton code")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {BOXES} boxes, deltas and sum of the losses: launches forward + backward")
    for name in options.losses.split(","):
        (forward, backward), codes = kernels_of(load_loss(name))
        print(f"{name:<12} {forward} + {backward} = {forward + backward}")
        if options.code:
            print("\n".join(codes))


if __name__ == "__main__":
    main()
