package tensorboard

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alphalora/internal/fault"
	"alphalora/internal/testkit"
)

// at is a clock that stands.
func at(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 250e6) }
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestGolden holds that the bytes are those that the tensorboard package writes
// (scripts/tensorboard.sh makes the golden file anew).
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	w, err := create(dir, 300, at(1700000000))
	require.NoError(t, err)
	require.NoError(t, w.Scalars(300, map[string]float64{"loss": 2.5, "grad_norm": 0.1, "balance/layer_00": 1.25}))
	require.NoError(t, w.Close())
	want, err := os.ReadFile("testdata/events.golden")
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "events.out.tfevents.1700000000.alphalora"))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestNewFilesComeAfterOldOnesWhateverTheClockSays(t *testing.T) {
	dir := t.TempDir()
	for _, seconds := range []int64{1700000000, 1700000000, 1600000000} {
		w, err := create(dir, 5, at(seconds))
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	require.Equal(t, []string{"events.out.tfevents.1700000000.alphalora", "events.out.tfevents.1700000001.alphalora",
		"events.out.tfevents.1700000002.alphalora"}, files(t, dir))
}

func TestAFreshRunRemovesTheEventsOfTheOneBefore(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	for range 2 {
		w, err := create(dir, 1, at(1700000000))
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	require.Equal(t, []string{"events.out.tfevents.1700000001.alphalora", "notes.txt"}, files(t, dir))
}

func TestWhatCannotBeWrittenIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Create(filepath.Join(file, "tensorboard"), 1)
	require.ErrorContains(t, err, file)
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))

	w, err := Create(t.TempDir(), 1)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.ErrorContains(t, w.Scalars(1, nil), w.file.Name())
}

// TestTensorBoardShowsNoStepTwice has a run stop at step 7, go on from a checkpoint at 4 in
// another way and stop at 6: TensorBoard must know nothing of the first steps 5 to 7.
func TestTensorBoardShowsNoStepTwice(t *testing.T) {
	dir := t.TempDir()
	var want []testkit.Point
	for _, part := range []struct {
		first, last int
		shift       float64
	}{{1, 7, 0}, {5, 6, 100}} {
		w, err := Create(dir, part.first)
		require.NoError(t, err)
		for step := part.first; step <= part.last; step++ {
			v := float64(step) + part.shift
			require.NoError(t, w.Scalars(step, map[string]float64{"loss": v, "balance/layer_01": -v}))
			if step <= 4 || part.shift > 0 {
				want = append(want, testkit.Point{Step: step, Value: v})
			}
		}
		require.NoError(t, w.Close())
	}
	found := testkit.TensorBoard(t, dir)
	require.Equal(t, want, found["loss"])
	require.Len(t, found["balance/layer_01"], len(want))
	require.Len(t, found, 2)
}
