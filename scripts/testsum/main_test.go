package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadCountsAndShowsFailures(t *testing.T) {
	in := `{"Action":"run","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"A","Output":"fine\n"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"output","Package":"p","Test":"B","Output":"    x_test.go:7: skipped: no GPU is there\n"}
{"Action":"skip","Package":"p","Test":"B"}
{"Action":"output","Package":"p","Test":"C","Output":"it broke\n"}
{"Action":"fail","Package":"p","Test":"C"}
{"Action":"fail","Package":"p"}
{"Action":"pass","Package":"q"}
{"Action":"skip","Package":"r"}
{"ImportPath":"s","Action":"build-output","Output":"undefined: z\n"}
not json
`
	var out strings.Builder
	s, err := read(strings.NewReader(in), &out)
	require.NoError(t, err)
	require.Equal(t, "it broke\nundefined: z\nnot json\n", out.String())
	require.Equal(t, []int{1, 1, 1, 2}, []int{s.passed, s.failed, s.skipped, s.packages})
	require.Equal(t, []string{"p"}, s.broken)
	require.Equal(t, map[string]int{"no GPU is there": 1}, s.reasons)
}
