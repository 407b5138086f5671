package main

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
)

func TestARefusedRunNamesTheRowsThatWouldFit(t *testing.T) {
	refused := fault.Input("the run", "use bfloat16", "needs 90 GB")
	require.EqualError(t, whatFits(refused, 4), "the run: needs 90 GB (training.micro_batch 4 would fit; or use bfloat16)")
	require.EqualError(t, whatFits(fault.Input("the run", "use bfloat16", "needs 90 GB"), 0), "the run: needs 90 GB (use bfloat16)")
	other := errors.New("disk")
	require.Equal(t, other, whatFits(other, 4))
	require.NoError(t, whatFits(nil, 4))
}

func TestFlashIsRefusedOnOtherEngines(t *testing.T) {
	refused(t, "--attention flash: it is xla:cuda's, not", "bench", "train", "--shape", "tiny", "--experts", "2", "--attention", "flash", "--backend", "go", "--dtype", "float32", "--length", "8", "--rows", "1")
	refused(t, "--attention fast: there is no such attention", "bench", "train", "--shape", "tiny", "--experts", "2", "--attention", "fast", "--backend", "go", "--length", "8", "--rows", "1")
}
