package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/train"
)

// TestGoingOn holds what a run that goes on may change, and what is refused by name.
func TestGoingOn(t *testing.T) {
	config, output := tinyRun(t, 3)
	args := []string{"train", "--config", config, "--backend", "go"}
	with := func(more ...string) []string { return append(args[:len(args):len(args)], more...) }
	stdout, stderr, status := call(t, args...)
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "memory estimated")
	refused(t, "holds a run already: config.yaml is there", args...)
	refused(t, "contradicts --resume", with("--resume", "--overwrite")...)
	refused(t, "training.seed was 42, now 7: the steps done had the other value", with("--resume", "--set", "training.seed=7")...)
	refused(t, "model_quant was none, now nf4: the steps done had the other value", with("--resume", "--set", "model_quant=nf4")...)
	refused(t, "training.steps was 3, now 4: with schedule linear", with("--resume", "--set", "training.steps=4")...)
	_, stderr, status = call(t, with("--resume-from", "step-000002", "--set", "training.keep_checkpoints=1")...)
	require.Zero(t, status, stderr)
	require.Contains(t, stderr, "resume: training.keep_checkpoints was 2, now 1")

	lock, err := train.NewLock(output)
	require.NoError(t, err)
	refused(t, "another run writes it", with("--resume")...)
	lock.Release()

	edit(t, filepath.Join(filepath.Dir(config), "rows.jsonl"), func(b []byte) []byte { return append(b, "{\"input_ids\":[3,4,5]}\n"...) })
	refused(t, "rows.jsonl: has changed since", with("--resume")...)
	_, stderr, status = call(t, with("--overwrite")...)
	require.Zero(t, status, stderr)
	edit(t, filepath.Join(output, "checkpoints", "step-000003", "state.safetensors"), func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	refused(t, "go on from the one before with --resume-from step-000002", with("--resume")...)
}
