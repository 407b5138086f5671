package nn

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Flash is [Attention] of whole rows, each query seeing the positions up to its own, in
// one kernel that holds no scores [T, T], neither forward nor backward: cuDNN's, which XLA
// has on NVIDIA GPUs alone, for bf16 and f16. q [B, T, H, D], k and v [B, K, T, D] →
// [B, T, H·D]. Elsewhere it panics with an error; nothing takes its place. Padding on the
// right needs no mask: no token before it sees it.
//
// Source: Dao, FlashAttention-2, 2023; the kernel is cuDNN's own.
func Flash(q, k, v *Node, scale float64) *Node {
	b, t, h, d := q.Shape().Dim(0), q.Shape().Dim(1), q.Shape().Dim(2), q.Shape().Dim(3)
	if s := k.Shape().Dim(2); s != t {
		panic(fmt.Errorf("flash attention is for whole rows, of which query and key are alike: %d and %d positions", t, s))
	}
	k, v = TransposeAllDims(k, 0, 2, 1, 3), TransposeAllDims(v, 0, 2, 1, 3) // [B, T, K, D]
	out, _ := BackendFusedScaledDotProductAttention(q, k, v, compute.AttentionAxesLayoutBSHD,
		&compute.ScaledDotProductAttentionConfig{Scale: scale, Causal: true})
	return Reshape(out, b, t, h*d)
}

// maxFlashDim is the widest head that cuDNN's backward pass takes, on Hopper and later;
// before that it is half of it.
const maxFlashDim = 256

// FlashRefusal tells why [Flash] cannot stand in for [Attention]; empty where it can.
// dtype is that of q, k and v, dim that of a head.
func FlashRefusal(dtype dtypes.DType, dim int, limit float64) string {
	switch {
	case dtype != dtypes.BFloat16 && dtype != dtypes.Float16:
		return fmt.Sprintf("it is for bfloat16 and float16, not %s", dtype)
	case dim%8 != 0 || dim > maxFlashDim:
		return fmt.Sprintf("it is for heads of a multiple of 8 up to %d, not %d", maxFlashDim, dim)
	case limit > 0:
		return "it has no soft cap on scores"
	}
	return ""
}
