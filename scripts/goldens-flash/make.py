"""Writes model/nn/testdata/flash.json: the calls of cuDNN's attention as JAX makes them.

    python scripts/goldens-flash/make.py      (needs jax, for the CPU; made with 0.10.2)

JAX lowers for a GPU that is not there; the version of cuDNN is all that it has to be told.
"""
import json
import pathlib
import re

import jax
import jax.numpy as jnp
from jax._src.cudnn import fused_attention_stablehlo as fused

fused.check_cudnn_version = lambda: 91200
OUT = pathlib.Path(__file__).parents[2] / "model" / "nn" / "testdata" / "flash.json"
CASES = [(2, 64, 4, 64, 0.125), (1, 128, 2, 32, 0.25)]  # B, T, H, D, scale


def calls(b, t, h, d, scale):
    x = jax.ShapeDtypeStruct((b, t, h, d), jnp.bfloat16)

    def loss(q, k, v):
        out = jax.nn.dot_product_attention(q, k, v, is_causal=True, scale=scale, implementation="cudnn")
        return out.astype(jnp.float32).sum()

    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(x, x, x)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    pattern = (r'custom_call @(\S+?)\(.*?\{api_version = (\d+) : i32, backend_config = "(.*?)", '
               r'operand_layouts = (\[.*?\]), result_layouts = (\[.*?\])\} : \((.*?)\) -> \((.*?)\)\n')
    for target, version, config, operands, results, takes, gives in re.findall(pattern, text):
        yield {"target": target, "api_version": int(version),
               "backend_config": json.loads(config.replace("\\22", '"')),
               "operand_layouts": operands, "result_layouts": results,
               "operands": takes, "results": gives}


def main():
    cases = [{"b": b, "t": t, "h": h, "d": d, "scale": scale, "calls": list(calls(b, t, h, d, scale))}
             for b, t, h, d, scale in CASES]
    assert all(len(c["calls"]) == 2 for c in cases), cases
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"jax": jax.__version__, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
