package atomicfile

import (
	"fmt"
	"os"
	"path/filepath"
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
