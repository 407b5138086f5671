package generate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShapes: a batch is padded to what is there until the waste has paid for compiling.
func TestShapes(t *testing.T) {
	s := &Shapes{price: 1000}
	tokens := func(shape []int) int { return shape[0] * shape[1] }
	fit := func(rows, length int) []int { return s.Fit([]int{rows, length}, tokens) }
	require.Equal(t, []int{8, 96}, fit(8, 96), "the first is compiled")
	require.Equal(t, []int{8, 96}, fit(4, 96), "384 are wasted")
	require.Equal(t, []int{8, 96}, fit(8, 32), "and 512")
	require.Equal(t, []int{8, 96}, fit(8, 96), "nothing is wasted")
	require.Equal(t, []int{8, 32}, fit(8, 32), "512 more would be too many")
	require.Equal(t, []int{8, 32}, fit(4, 32), "of those that hold it, the smallest")
	require.Equal(t, []int{8, 96}, fit(8, 64), "a count that began anew")
	require.Equal(t, []int{8, 128}, fit(8, 128), "nothing holds it")
	s = &Shapes{}
	require.Equal(t, []int{8, 96}, s.Fit([]int{8, 96}, tokens))
	require.Equal(t, []int{8, 64}, s.Fit([]int{8, 64}, tokens), "compiling costs nothing")
}
