"""Compiles a program of `alphalora bench train --stablehlo` for a GPU that is not there.

    JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 python bench/gpu_compile.py STEP.mlir [--text OUT.txt]

XLA's GPU compiler needs no GPU, only a description of one. Python needs jax[cuda13]. Prints
JSON: seconds of compilation, bytes of arguments, outputs and temporary memory as XLA lays
them out, and how often the compiled module calls cuDNN's attention. There is no autotuning
without a GPU: kernels are chosen by rule, and the seconds are without it.
"""
import argparse
import json
import os
import re
import time

os.environ.setdefault("XLA_FLAGS", "--xla_gpu_dot_merger_threshold_mb=0")  # as internal/engine sets it

import jax
import numpy as np
from jax.experimental import topologies
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir

H100 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32
 shared_memory_per_block: 49152 shared_memory_per_core: 233472 threads_per_core_limit: 2048
 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
 clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
 cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536
 registers_per_block_limit: 65536 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--text", help="write the compiled module here")
    args = p.parse_args()
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=H100, topology_name="1x1x1", topology="1x1x1")
    device = topology.devices[0]
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.zeros((1, 1), np.int32))
    with mlir.make_ir_context():
        module = ir.Module.parse(open(args.program).read())
        begun = time.time()
        done = device.client.compile(module, xla_client.DeviceList((device,)), options)
    seconds = time.time() - begun
    memory = done.get_compiled_memory_stats()
    text = done.hlo_modules()[0].to_string()
    if args.text:
        open(args.text, "w").write(text)
    calls = re.findall(r'custom_call_target="([^"]+)"', text)
    print(json.dumps({
        "program": args.program, "target": "NVIDIA H100 80GB HBM3", "jax": jax.__version__,
        "compile_seconds": round(seconds, 1),
        "argument_bytes": memory.argument_size_in_bytes, "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes, "temp_bytes": memory.temp_size_in_bytes,
        "calls": {name: calls.count(name) for name in sorted(set(calls))},
    }))


if __name__ == "__main__":
    main()
