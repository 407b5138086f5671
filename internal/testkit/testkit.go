// Package testkit is the one hermetic kit that the project's tests share.
package testkit

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Root is the project's root directory.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("testkit: the caller's file is unknown")
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Shared returns the path of a file or folder of the material beside the project
// (reference numbers, benchmarks, a real model), at ../shared from the root or
// where ALPHALORA_SHARED points. The test is skipped where it is absent.
func Shared(t testing.TB, parts ...string) string {
	t.Helper()
	base := os.Getenv("ALPHALORA_SHARED")
	if base == "" {
		base = filepath.Join(Root(t), "..", "shared")
	}
	path := filepath.Join(append([]string{base}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("skipped: %s is absent (set ALPHALORA_SHARED to the folder with the reference material)", filepath.Join(parts...))
	}
	return path
}
