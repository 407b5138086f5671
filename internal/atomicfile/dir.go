package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Dir creates the directory path with the files that fill writes into a temporary one
// beside it: whole or not at all. path may exist only as an empty directory.
func Dir(path string, fill func(dir string) error) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("%s: cannot be made: %w", path, err)
	}
	if err := syncDir(filepath.Dir(parent)); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(parent, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return fmt.Errorf("%s: cannot be made: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(temporary)
		}
	}()
	if err := fill(temporary); err != nil {
		return err
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	if err := syncDir(temporary); err != nil {
		return err
	}
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		if err := os.Remove(path); err != nil { // only an empty one can be removed
			return fmt.Errorf("%s: not written: %w", path, err)
		}
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("%s: not written: %w", path, err)
	}
	return syncDir(parent)
}

// Discard gives a file or directory a temporary name, under which it can be removed bit by
// bit: under its own it is whole or absent. It returns that name.
func Discard(path string) (temporary string, err error) {
	parent := filepath.Dir(path)
	room, err := os.MkdirTemp(parent, "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return "", fmt.Errorf("%s: cannot be removed: %w", path, err)
	}
	if err := os.Rename(path, filepath.Join(room, filepath.Base(path))); err != nil {
		return "", errors.Join(fmt.Errorf("%s: cannot be removed: %w", path, err), os.Remove(room))
	}
	return room, syncDir(parent)
}

// Sweep removes what processes that were killed have left of [Write], [Dir] and [Discard]
// in a directory. None may be at work there.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), ".tmp-") {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
