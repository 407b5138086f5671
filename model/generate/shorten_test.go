package generate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShorten(t *testing.T) {
	ids := []int32{1, 5, 6, 7, 8}
	require.Equal(t, ids, Shorten(ids, 5, 1))
	require.Equal(t, []int32{1, 7, 8}, Shorten(ids, 3, 1), "the beginning's token stays")
	require.Equal(t, []int32{6, 7, 8}, Shorten(ids, 3, 2))
	require.Equal(t, []int32{8}, Shorten(ids, 1, -1))
	require.Equal(t, []int32{1, 5, 6, 7, 8}, ids, "the caller's own stays as it is")
}
