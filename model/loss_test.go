package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

const (
	lossTokens, lossHidden, lossWords = 24, 8, 37
)

// TestLossInPieces holds loss, gradients and right guesses of a loss in pieces against the
// loss over all scores at once, and that one against a plain computation.
func TestLossInPieces(t *testing.T) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	hidden, head := normals(rng, lossTokens*lossHidden), normals(rng, lossWords*lossHidden)
	labels := make([]int32, lossTokens)
	for i := range labels {
		labels[i] = rng.Int32N(lossWords)
		if i%5 == 0 {
			labels[i] = -100
		}
	}
	for _, d := range []model.Description{{}, {Tied: true, LogitCap: 3}} {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprintf("tied %v, cap %v, full %v", d.Tied, d.LogitCap, full), func(t *testing.T) {
				d.Vocabulary, d.Hidden = lossWords, lossHidden
				whole := lossOf(t, eng, &model.Decoder{Description: d, Full: full}, hidden, head, labels)
				require.InDelta(t, plainLoss(hidden, head, labels, d.LogitCap), whole[0][0], 1e-3)
				for _, cut := range [][2]int{{lossWords - 1, 1}, {9 * lossWords, 1}, {5 * lossWords, 3}} { // scores and devices
					pieces := lossOf(t, eng, &model.Decoder{Description: d, Full: full, MaxScores: cut[0], Devices: cut[1]}, hidden, head, labels)
					require.InDelta(t, whole[0][0], pieces[0][0], 1e-4, "loss")
					require.InDeltaSlice(t, whole[1], pieces[1], 1e-5, "gradient of the hidden states")
					require.Equal(t, whole[3], pieces[3], "right guesses")
					require.InDelta(t, pieces[0][0], pieces[4][0], 1e-4, "the judge's loss")
					if full {
						require.InDeltaSlice(t, whole[2], pieces[2], 1e-5, "gradient of the head")
					}
				}
			})
		}
	}
}

// lossOf returns the loss, the gradients of half of it, the right guesses and their loss.
func lossOf(t *testing.T, eng *engine.Engine, d *model.Decoder, hidden, head []float32, labels []int32) [][]float64 {
	var outs []*tensors.Tensor
	require.NoError(t, engine.Try(func() {
		outs = MustNewExec(eng.Backend, func(in []*Node) []*Node {
			d.Weights = map[string]*Node{"lm_head.weight": in[1], "model.embed_tokens.weight": in[1]}
			loss := d.CrossEntropy(in[0], in[2])
			judged, right := d.Judge(in[0], in[2])
			outs := append([]*Node{loss}, Gradient(MulScalar(loss, 0.5), in[0], in[1])...)
			return append(outs, ConvertDType(right, loss.DType()), judged)
		}).MustCall(tensors.FromFlatDataAndDimensions(hidden, lossTokens, lossHidden),
			tensors.FromFlatDataAndDimensions(head, lossWords, lossHidden),
			tensors.FromFlatDataAndDimensions(labels, lossTokens))
	}))
	lists := make([][]float64, len(outs))
	for i, out := range outs {
		values, err := model.Float32s(out)
		require.NoError(t, err)
		for _, v := range values {
			lists[i] = append(lists[i], float64(v))
		}
	}
	return lists
}

func plainLoss(hidden, head []float32, labels []int32, limit float64) float64 {
	loss := 0.0
	for i, label := range labels {
		if label < 0 {
			continue
		}
		sum, at := 0.0, 0.0
		for w := range lossWords {
			score := 0.0
			for c := range lossHidden {
				score += float64(hidden[i*lossHidden+c]) * float64(head[w*lossHidden+c])
			}
			if limit > 0 {
				score = limit * math.Tanh(score/limit)
			}
			if sum += math.Exp(score); w == int(label) {
				at = score
			}
		}
		loss += math.Log(sum) - at
	}
	return loss
}

func normals(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}
