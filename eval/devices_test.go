package eval

import (
	"path/filepath"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
)

// TestForksOnSeveralDevices holds what two devices score against whole rows.
func TestForksOnSeveralDevices(t *testing.T) {
	eng, err := engine.Open(engine.CPU)
	if err != nil {
		t.Skip("skipped: " + err.Error())
	}
	defer eng.Close()
	if have := eng.Backend.NumDevices(); have < 2 {
		t.Skipf("skipped: %s has %d device", eng.Name, have)
	}
	require.NoError(t, eng.Use("devices", 2, false))
	m, err := model.Load(t.Context(), eng, filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama"), "float32")
	require.NoError(t, err)
	require.Equal(t, 2, m.Devices())
	a := experts(t, m)
	require.NoError(t, a.(*moelora.Adapter).Params.Spread(eng))
	requireForksAsRows(t, "tinyllama on two devices", m, a)
}
