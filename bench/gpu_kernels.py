"""What the kernels of a module that bench/gpu_compile.py compiled compute and move.

    python bench/gpu_kernels.py OUT.txt [--rows N] [--flops 989e12] [--bandwidth 3.35e12]

OUT.txt is of `gpu_compile.py --text`. For each kind of kernel, then for the N shapes that
weigh most: how many, their floor (the larger of operations over --flops and bytes over
--bandwidth; an H100's by default), operations and bytes. Every operand counts as read whole,
so a kernel that updates a slice in place counts too much; a loop's body counts once. A floor
is arithmetic: nothing was run.
"""
import argparse
import collections
import math
import re

SIZES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all"}
NAME = r"%([\w.\-]+)"


def closing(text, start):
    """Where the bracket that opens at start closes."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    raise ValueError(text[:100])


def dims(shape):
    return [int(n) for n in re.search(r"\[([\d,]*)\]", shape).group(1).split(",") if n]


def size(shape):
    """Bytes of a shape, or of all shapes of a tuple."""
    return sum(SIZES.get(dtype, 0) * math.prod(int(n) for n in lengths.split(",") if n)
               for dtype, lengths in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape))


class Op:
    def __init__(self, line):
        name, rest = re.match(r"\s+(?:ROOT )?" + NAME + r" = (.*)$", line).groups()
        end = closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
        self.name, self.shape, rest = name, re.sub(r"\{[^}]*\}", "", rest[:end]), rest[end:].strip()
        opening = rest.index("(")
        self.code, close = rest[:opening], closing(rest, opening)
        self.operands, self.rest = re.findall(NAME, rest[opening:close]), rest[close:]

    def attribute(self, pattern):
        found = re.search(pattern, self.rest)
        return found.group(1) if found else None


class Module:
    def __init__(self, path):
        self.computations, self.shapes = {}, {}
        for line in open(path):
            head = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{\s*$", line)
            if head:
                ops = self.computations[head.group(2)] = []
                self.entry = head.group(2) if head.group(1) else getattr(self, "entry", None)
            elif re.match(r"\s+(?:ROOT )?%[\w.\-]+ = ", line):
                ops.append(Op(line))
                self.shapes[ops[-1].name] = ops[-1].shape

    def product(self, op, contracted):
        left = dims(self.shapes[op.operands[0]])
        return 2 * math.prod(dims(op.shape)) * math.prod(left[int(i)] for i in re.findall(r"\d+", contracted))

    def flops(self, op):
        """Operations of an op's matrix products, those of what it calls with it."""
        if op.code == "dot":
            return self.product(op, op.attribute(r"lhs_contracting_dims=\{([\d,]*)\}"))
        if "cublas" in (op.attribute(r'custom_call_target="([^"]+)"') or ""):
            return self.product(op, op.attribute(r'"lhs_contracting_dimensions":\[([\d",]*)\]'))
        called = op.attribute(r"calls=" + NAME)
        return sum(self.flops(inner) for inner in self.computations.get(called, ()))

    def kernels(self, name=None):
        """The ops that run, through loops and calls."""
        for op in self.computations[name or self.entry]:
            inner = op.attribute(r"(?:body|to_apply)=" + NAME) if op.code in ("while", "call") else None
            if inner:
                yield from self.kernels(inner)
            elif op.code not in FREE:
                yield op


def main():
    p = argparse.ArgumentParser()
    p.add_argument("module")
    p.add_argument("--rows", type=int, default=30)
    p.add_argument("--flops", type=float, default=989e12)
    p.add_argument("--bandwidth", type=float, default=3.35e12)
    args = p.parse_args()
    module = Module(args.module)
    kinds, shapes = (collections.defaultdict(lambda: [0, 0.0, 0, 0]) for _ in range(2))
    for op in module.kernels():
        flops, moved = module.flops(op), size(op.shape) + sum(size(module.shapes.get(o, "")) for o in op.operands)
        kind = op.attribute(r'custom_call_target="([^"]+)"') or (f"{op.code} with products" if flops else op.code)
        read = ", ".join(module.shapes.get(o, "?") for o in op.operands)
        for table, key in (kinds, kind), (shapes, f"{kind} {op.shape} <- {read}"):
            row = table[key]
            for i, value in enumerate((1, max(flops / args.flops, moved / args.bandwidth), flops, moved)):
                row[i] += value
    print(f"{'number':>7} {'floor, ms':>10} {'TFLOP':>8} {'GB':>8}")
    for table in kinds, dict(sorted(shapes.items(), key=lambda e: -e[1][1])[:args.rows]):
        total = [sum(column) for column in zip(*table.values())]
        for key, (count, floor, flops, moved) in [*sorted(table.items(), key=lambda e: -e[1][1]), *([("all", total)] if table is kinds else [])]:
            print(f"{count:7} {1e3 * floor:10.3f} {flops / 1e12:8.3f} {moved / 1e9:8.3f}  {key[:200]}")
        print()


if __name__ == "__main__":
    main()
