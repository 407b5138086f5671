package nn_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model/nn"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/stretchr/testify/require"
)

// fusedCall is a call of cuDNN's attention in a program.
type fusedCall struct {
	Target         string `json:"target"`
	APIVersion     int    `json:"api_version"`
	Config         any    `json:"backend_config"`
	OperandLayouts string `json:"operand_layouts"`
	ResultLayouts  string `json:"result_layouts"`
	Operands       string `json:"operands"`
	Results        string `json:"results"`
}

var fusedCalls = regexp.MustCompile(`(?s)"stablehlo.custom_call"\([^)]*\) \{\s*api_version = (\d+) : i32,\s*backend_config = ("(?:[^"\\]|\\.)*"),\s*` +
	`call_target_name = "([^"]+)",\s*operand_layouts = (\[.*?\]),\s*result_layouts = (\[[^\n]*\])\s*\} : \((.*?)\) -> \((.*?)\)\n`)

func callsIn(t *testing.T, program string) []fusedCall {
	var list []fusedCall
	for _, m := range fusedCalls.FindAllStringSubmatch(program, -1) {
		version, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		text, err := strconv.Unquote(m[2])
		require.NoError(t, err)
		c := fusedCall{m[3], version, nil, m[4], m[5], m[6], m[7]}
		require.NoError(t, json.Unmarshal([]byte(text), &c.Config))
		list = append(list, c)
	}
	return list
}

// gradients of Flash in a program for xla:cuda, built on a machine without a GPU.
func flashProgram(t *testing.T, kvHeads, b, positions, h, d int, scale float64) string {
	eng, err := engine.OpenWithoutGPU()
	if err != nil {
		t.Skipf("skipped: %s", err)
	}
	// the engine stays open, as the executor of a compilation that was cut off never ends
	exec, err := NewExec(eng.Backend, func(in []*Node) []*Node {
		return Gradient(ReduceAllSum(ConvertDType(nn.Flash(in[0], in[1], in[2], scale), dtypes.Float32)), in...)
	})
	require.NoError(t, err)
	q, kv := shapes.Make(dtypes.BFloat16, b, positions, h, d), shapes.Make(dtypes.BFloat16, b, kvHeads, positions, d)
	program, err := engine.Emit(func() {
		if _, err := exec.Compile(q, kv, kv); err != nil {
			panic(err)
		}
	})
	require.NoError(t, err)
	return program
}

// TestFlashIsTheCallThatJAXMakes holds shapes, layouts and configuration of both passes
// against JAX's for the same attention. Nothing is run.
func TestFlashIsTheCallThatJAXMakes(t *testing.T) {
	content, err := os.ReadFile("testdata/flash.json") // by scripts/goldens-flash/make.py
	require.NoError(t, err)
	var golden struct {
		Cases []struct {
			B, T, H, D int
			Scale      float64
			Calls      []fusedCall
		}
	}
	require.NoError(t, json.Unmarshal(content, &golden))
	require.NotEmpty(t, golden.Cases)
	for _, c := range golden.Cases {
		require.Equal(t, c.Calls, callsIn(t, flashProgram(t, c.H, c.B, c.T, c.H, c.D, c.Scale)))
	}
}

// Grouped queries: keys and values are repeated for cuDNN, and their gradients summed.
func TestFlashWithGroupedQueries(t *testing.T) {
	calls := callsIn(t, flashProgram(t, 2, 2, 64, 4, 64, 0.125))
	require.Len(t, calls, 2)
	require.Equal(t, "tensor<2x64x4x64xbf16>, tensor<2x64x4x64xbf16>, tensor<2x64x4x64xbf16>", calls[0].Operands)
}

func TestFlashElsewhereIsAnErrorAndNoOtherAttention(t *testing.T) {
	eng, err := opened()
	require.NoError(t, err)
	err = engine.Try(func() {
		MustExecOnce(eng.Backend, func(x *Node) *Node {
			x = ConvertDType(x, dtypes.BFloat16)
			return nn.Flash(x, x, x, 1)
		}, array(1, 1, 8, 8, 8))
	})
	require.Error(t, err)
}

func TestFlashRefusals(t *testing.T) {
	require.Empty(t, nn.FlashRefusal(dtypes.BFloat16, 128, 0))
	require.Empty(t, nn.FlashRefusal(dtypes.Float16, 256, 0))
	for _, why := range []string{nn.FlashRefusal(dtypes.Float32, 64, 0), nn.FlashRefusal(dtypes.BFloat16, 100, 0),
		nn.FlashRefusal(dtypes.BFloat16, 512, 0), nn.FlashRefusal(dtypes.BFloat16, 64, 50)} {
		require.NotEmpty(t, why)
	}
}
