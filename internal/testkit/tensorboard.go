package testkit

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Point is one scalar that TensorBoard found.
type Point struct {
	Step  int
	Value float64
}

// UnmarshalJSON reads [step, value].
func (p *Point) UnmarshalJSON(text []byte) error {
	var pair [2]float64
	err := json.Unmarshal(text, &pair)
	p.Step, p.Value = int(pair[0]), pair[1]
	return err
}

// TensorBoard returns the scalars, by their tags, that the tensorboard package finds in the
// event files of dir. The test is skipped where ALPHALORA_TENSORBOARD_PYTHON does not name a
// Python that has the package; scripts/tensorboard.sh makes one.
func TensorBoard(t testing.TB, dir string) map[string][]Point {
	t.Helper()
	python := os.Getenv("ALPHALORA_TENSORBOARD_PYTHON")
	if python == "" {
		t.Skip("skipped: ALPHALORA_TENSORBOARD_PYTHON names no Python with the package tensorboard (run scripts/tensorboard.sh)")
	}
	cmd := exec.Command(python, filepath.Join(Root(t), "scripts", "tensorboard", "check.py"), "read", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tensorboard: %v", err)
	}
	found := map[string][]Point{}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("tensorboard: %v: %s", err, out)
	}
	return found
}
