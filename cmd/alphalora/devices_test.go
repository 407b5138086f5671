package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
)

// severalDevices skips the test where the engine has none to share work.
func severalDevices(t *testing.T) {
	e, err := engine.Open("")
	require.NoError(t, err)
	defer e.Close()
	if have := e.Backend.NumDevices(); have < 4 {
		t.Skipf("skipped: %s has %d devices, 4 are needed", e.Name, have)
	}
}

func TestTooManyDevicesAreRefused(t *testing.T) {
	dir := base(t)
	refused(t, "--devices 4096: are more devices than the", "generate", "--model", dir, "--prompt", "x", "--devices", "4096")
	refused(t, "--devices 4096: are more devices than the", "score", "--model", dir, "--ids", writeJSONFile(t, [][]int{{1, 2}}), "--devices", "4096")
	refused(t, "--devices 4096: are more devices than the", "eval", "--model", dir, "--data", ownRecords(t), "--benchmark", "cola", "--devices", "4096")
	refused(t, "--devices none: is not a number of devices", "generate", "--model", dir, "--prompt", "x", "--devices", "none")
	config, _ := tinyRun(t, 3)
	refused(t, "training.devices 4096: are more devices than the", "train", "--config", config, "--set", "training.devices=4096")
	severalDevices(t)
	refused(t, "training.micro_batch 2: its rows cannot be divided over 4 devices (use 4, the nearest that divides batch 4 too)",
		"train", "--config", config, "--set", "training.devices=4")
	refused(t, "no micro_batch fits batch 4: make batch a multiple of 3, such as 6",
		"train", "--config", config, "--set", "training.devices=3")
}

// TestRunsGoOnOnOtherDevices stops a run of two devices, which divide the base, and goes on
// with it on one: the metrics are those of a run on one. The base is in few bits; whole ones
// go the same way in train's TestDevicesKeepTheCurve.
func TestRunsGoOnOnOtherDevices(t *testing.T) {
	severalDevices(t)
	config, output := tinyRun(t, 4)
	with := func(more ...string) []string {
		return append([]string{"train", "--config", config, "--set", "training.schedule=constant", "--set", "model_quant=nf4", "--set", "quant_cache=" + t.TempDir()}, more...)
	}
	done(t, with("--set", "output="+output+"-one")...)
	_, stderr := done(t, with("--set", "training.steps=2", "--set", "training.devices=2", "--set", "training.shard_base=true")...)
	require.Contains(t, stderr, "devices: 2, each with 1 of a micro-batch's 2 rows and its part of the frozen weights")
	_, stderr = done(t, with("--resume")...)
	require.Contains(t, stderr, "resume: training.devices was 2, now 1")
	one, moved := timeless(t, output+"-one"), timeless(t, output)
	require.Len(t, moved, 4)
	for i := range one {
		require.InEpsilon(t, one[i].Loss, moved[i].Loss, 1e-5)
		require.InEpsilon(t, one[i].GradNorm, moved[i].GradNorm, 1e-5)
	}
}
