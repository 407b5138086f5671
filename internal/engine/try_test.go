package engine

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
	"github.com/pkg/errors"
	"github.com/stretchr/testify/require"
)

func TestTryReturnsWhatAGraphThrows(t *testing.T) {
	e, err := Open(Go)
	require.NoError(t, err)
	defer e.Close()
	err = Try(func() {
		graph.MustExecOnce(e.Backend, func(x, y *graph.Node) *graph.Node {
			return graph.Add(x, y)
		}, []float32{1, 2, 3}, []float32{4, 5})
	})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), ".go:")
	require.NoError(t, Try(func() {}))
}

func TestTryKeepsTheCauseAndDropsTheTrace(t *testing.T) {
	cause := errors.Wrap(fs.ErrNotExist, "reading")
	err := Try(func() { panic(errors.Errorf("shapes differ\n%+v", cause)) })
	require.Equal(t, "shapes differ; file does not exist; reading", err.Error())

	_, err = Try1(func() int { panic(cause) })
	require.ErrorIs(t, err, fs.ErrNotExist)

	n, err := Try1(func() int { return 7 })
	require.NoError(t, err)
	require.Equal(t, 7, n)
}

func TestTryLetsProgrammingFaultsThrough(t *testing.T) {
	var none *struct{ field int }
	require.Panics(t, func() { _ = Try(func() { fmt.Println(none.field) }) })
	require.Panics(t, func() {
		_ = Try(func() {
			if caught := exceptions.Try(func() { fmt.Println(none.field) }); caught != nil {
				panic(caught) // gomlx wraps the runtime's error and throws it on
			}
		})
	})
	require.PanicsWithValue(t, "not an error", func() { _ = Try(func() { panic("not an error") }) })
}
