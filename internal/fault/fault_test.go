package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExitStatus(t *testing.T) {
	bad := Input("x.json", "mend it", "line %d\nis wrong", 3)
	require.EqualError(t, bad, "x.json: line 3 is wrong (mend it)")
	require.EqualError(t, Input("x", "", "y"), "x: y")
	for want, err := range map[int]error{
		StatusDone:   nil,
		StatusBad:    fmt.Errorf("reading: %w", bad),
		StatusFailed: errors.New("broken"),
		StatusSignal: fmt.Errorf("stopped: %w", context.Canceled),
	} {
		require.Equal(t, want, ExitStatus(err))
	}
}

func TestReason(t *testing.T) {
	_, err := os.ReadFile("/absent/file")
	require.EqualError(t, Reason(err), "no such file or directory")
	other := errors.New("x")
	require.Equal(t, other, Reason(other))
}

func TestNearest(t *testing.T) {
	names := []string{"alphalora", "uniform", "mola-PATTERN", "manual"}
	for name, want := range map[string]string{"alphaloar": "alphalora", "unifrom": "uniform", "uni": "uniform", "x": "", "": "", "something": "", "lora": ""} {
		require.Equal(t, want, Nearest(name, names), name)
	}
}
