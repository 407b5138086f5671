package engine

import (
	"os"
	"testing"

	"alphalora/internal/fault"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/stretchr/testify/require"
)

const side = 512

// TestDevicesThatShareAProcessorDoNotBlockEachOther runs products that need the pool's
// threads between exchanges that keep them. With one thread a core it hangs, and XLA ends
// the process.
func TestDevicesThatShareAProcessorDoNotBlockEachOther(t *testing.T) {
	e := open(t, CPU)
	if e.Backend.NumDevices() < 4 {
		t.Skipf("skipped: %s has %d devices", e.Name, e.Backend.NumDevices())
	}
	before, set := os.LookupEnv(poolVariable)
	first := e.Backend
	require.NoError(t, e.Use("devices", 4, false))
	require.NotSame(t, first, e.Backend, "opened anew")
	after, still := os.LookupEnv(poolVariable)
	require.Equal(t, set, still)
	require.Equal(t, before, after)
	wide := e.Backend
	require.NoError(t, e.Use("devices", 2, false))
	require.NoError(t, e.Use("devices", All, false))
	require.Same(t, wide, e.Backend, "opened once")

	mesh, err := e.Devices.Mesh()
	require.NoError(t, err)
	exec, err := graph.NewExec(e.Backend, func(in []*graph.Node) []*graph.Node {
		x, w := in[0], in[1]
		for range 4 {
			var branches *graph.Node // which the engine runs side by side
			for i := range 6 {
				y := graph.MatMul(graph.Tanh(graph.MulScalar(x, 1+float64(i))), w)
				y = graph.Add(y, graph.ReduceAllMean(graph.Sin(y))) // an exchange
				if branches == nil {
					branches = y
				} else {
					branches = graph.Add(branches, y)
				}
			}
			x = branches
		}
		return []*graph.Node{graph.ReduceAllMean(x)}
	})
	require.NoError(t, err)
	exec.AutoSharding(mesh).WithInputShardingSpecs(Spec(mesh, 0), Spec(mesh, -1)).WithOutputShardingSpecs(Spec(mesh, -1))
	values := make([]float32, side*side)
	for i := range values {
		values[i] = float32(i%13-6) / side
	}
	var got float32
	for range 3 {
		var args []any
		for range e.Devices.Count {
			args = append(args, tensors.FromFlatDataAndDimensions(values, side, side), tensors.FromFlatDataAndDimensions(values, side, side))
		}
		outs, err := exec.Call(args...)
		require.NoError(t, err)
		require.Len(t, outs, e.Devices.Count)
		got = tensors.ToScalar[float32](outs[0])
		for _, out := range outs {
			require.Equal(t, got, tensors.ToScalar[float32](out))
		}
	}
	require.NotZero(t, got)
}

func TestUseRefusesMoreThanThereAre(t *testing.T) {
	e := open(t, Go)
	require.NoError(t, e.Use("--devices", 1, true))
	require.Equal(t, Devices{Count: 1}, e.Devices, "nobody to share with")
	require.NoError(t, e.Use("--devices", All, true))
	err := e.Use("--devices", e.Backend.NumDevices()+1, false)
	require.ErrorContains(t, err, "more devices than the")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
}
