package train

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
)

func TestADriversErrorNamesTheCheckpointThatIsKept(t *testing.T) {
	driver := fmt.Errorf("step 8: %w", engine.Broken(errors.New("PJRT error (code=13): CUDA_ERROR_ILLEGAL_ADDRESS")))
	k := &keeper{Checkpoints: Checkpoints{Dir: "runs/first/checkpoints"}}
	err := k.explain(driver, 7, nil, nil)
	require.ErrorIs(t, err, driver)
	require.ErrorContains(t, err, "see dmesg and nvidia-smi")
	require.NotContains(t, err.Error(), "is whole")
	k.saved = 5
	err = k.explain(driver, 7, nil, nil)
	require.ErrorContains(t, err, "step-000005 is whole: go on with --resume")
	require.NotContains(t, err.Error(), "\n")
	unknown := engine.Broken(errors.New("INTERNAL: unheard of"))
	require.EqualError(t, k.explain(unknown, 7, nil, nil),
		"INTERNAL: unheard of (alphalora doctor tells whether the engine works; runs/first/checkpoints/step-000005 is whole: go on with --resume)")
	plain := errors.New("feed: no more samples")
	require.Equal(t, plain, k.explain(plain, 7, nil, nil), "nothing of the engine's")
}

func TestLargestIsTheMostThatFits(t *testing.T) {
	estimate := func(rows int) Memory { return Memory{Weights: 100, Activations: int64(10 * rows)} }
	require.Equal(t, 4, Largest(16, 149, estimate))
	require.Equal(t, 5, Largest(16, 150, estimate))
	require.Equal(t, 15, Largest(16, 1000, estimate))
	require.Zero(t, Largest(16, 99, estimate))
	require.Zero(t, Largest(1, 1000, estimate))
}
