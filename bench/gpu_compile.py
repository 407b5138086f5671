"""Compiles a program of `alphalora bench train --stablehlo` for a GPU that is not there.

    python bench/gpu_compile.py STEP.mlir [--text OUT.txt]

XLA's GPU compiler needs no GPU, only a description of one. Python needs jax[cuda13]. Prints
JSON: seconds of compilation and of the cores' work in it, bytes of arguments, outputs and
temporary memory as XLA lays them out, and how often the compiled module calls which library; of a program for several
devices those of one of them.
There is no autotuning without a GPU: kernels are chosen by rule, and the seconds are without
it. Flags are those that `alphalora` sets on a GPU, unless XLA_FLAGS is set.
"""
import argparse
import json
import os
import re
import resource
import time

os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false --xla_gpu_dot_merger_threshold_mb=0"
                      " --xla_disable_hlo_passes=latency-hiding-scheduler")

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


def cores():
    """Seconds that the cores worked for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--text", help="write the compiled module here")
    args = p.parse_args()
    program = open(args.program).read()
    mesh = re.search(r'sdy\.mesh @mesh = <\["data"=(\d+)\]>', program)
    n = int(mesh.group(1)) if mesh else 1
    topology = topologies.get_topology_desc(
        platform="cuda", target_config=H100, topology_name=f"1x1x{n}", topology=f"1x1x{n}")
    options = xla_client.CompileOptions()
    options.num_replicas, options.num_partitions = 1, n
    options.device_assignment = xla_client.DeviceAssignment.create(np.arange(n, dtype=np.int32).reshape(1, n))
    options.executable_build_options.use_spmd_partitioning = n > 1
    options.executable_build_options.use_shardy_partitioner = n > 1
    with mlir.make_ir_context():
        module = ir.Module.parse(program)
        begun, worked = time.time(), cores()
        done = topology.devices[0].client.compile(module, xla_client.DeviceList(tuple(topology.devices)), options)
    seconds, worked = time.time() - begun, cores() - worked
    memory = done.get_compiled_memory_stats()
    text = done.hlo_modules()[0].to_string()
    if args.text:
        open(args.text, "w").write(text)
    calls = re.findall(r'custom_call_target="([^"]+)"', text)
    print(json.dumps({
        "program": args.program, "target": "NVIDIA H100 80GB HBM3", "jax": jax.__version__,
        "flags": os.environ["XLA_FLAGS"], "compile_seconds": round(seconds, 1), "core_seconds": round(worked, 1),
        "argument_bytes": memory.argument_size_in_bytes, "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes, "temp_bytes": memory.temp_size_in_bytes,
        "calls": {name: calls.count(name) for name in sorted(set(calls))}, "devices": n,
    }))


if __name__ == "__main__":
    main()
