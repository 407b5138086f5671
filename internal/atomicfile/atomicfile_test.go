package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	require.NoError(t, WriteBytes(path, []byte("one")))
	require.NoError(t, WriteBytes(path, []byte("two")))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "two", string(content))
}

// TestFailureKeepsTheOldFile stands for a full disk: the write fails half-way.
func TestFailureKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	require.NoError(t, WriteBytes(path, []byte("old")))
	err := Write(path, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 3<<20))
		return errors.Join(err, syscall.ENOSPC)
	})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, path)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(content))
}

func TestDirIsWholeOrAbsent(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "deep", "dir")
	failed := errors.New("no")
	put := func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600) }
	require.ErrorIs(t, Dir(path, func(dir string) error { return errors.Join(put(dir), failed) }), failed)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoError(t, os.Mkdir(path, 0o755))
	require.NoError(t, Dir(path, put), "an empty directory may be there")
	require.FileExists(t, filepath.Join(path, "x"))
	require.Error(t, Dir(path, put), "a full one may not")
	entries, err = os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// TestDevicesAreWrittenInto holds that a pipe stays a pipe: who runs as root must not lose
// /dev/null by naming it.
func TestDevicesAreWrittenInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	read := make(chan string)
	go func() {
		content, err := os.ReadFile(path)
		read <- string(content)
		if err != nil {
			t.Error(err)
		}
	}()
	require.NoError(t, WriteBytes(path, []byte("through")))
	require.Equal(t, "through", <-read)
	info, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeNamedPipe, info.Mode().Type())
}
