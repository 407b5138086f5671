package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"alphalora/internal/fault"
)

// lockFile is held by the one run that may write a directory.
const lockFile = ".lock"

// Lock is an output directory that this process alone writes. The system releases it when
// the process ends, however it ends.
type Lock struct {
	file *os.File
	made bool // the directory was made for it
}

// NewLock makes a directory where it is absent, and locks it.
func NewLock(dir string) (*Lock, error) {
	what, remedy := "output "+dir, "choose a directory that can be written"
	_, err := os.Stat(dir)
	made := os.IsNotExist(err)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fault.Input(what, remedy, "%v", fault.Reason(err))
	}
	path := filepath.Join(dir, lockFile)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fault.Input(what, remedy, "cannot be written: %v", fault.Reason(err))
		}
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			defer func() { _ = f.Close() }()
			return nil, busy(dir, f)
		case err != nil:
			_ = f.Close()
			return nil, fault.Input(what, "choose a directory on a file system that has locks", "cannot be locked: %v", err)
		}
		if current(f, path) {
			_ = f.Truncate(0)
			_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // for people: the lock itself is the system's
			return &Lock{f, made}, nil
		}
		_ = f.Close() // its holder released it in between, and the name is another file's
	}
}

// CheckLock refuses a directory that another run writes, as [NewLock] does, and changes
// nothing.
func CheckLock(dir string) error {
	f, err := os.Open(filepath.Join(dir, lockFile))
	if err != nil {
		return nil // nobody holds what is not there
	}
	defer func() { _ = f.Close() }()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return busy(dir, f)
	}
	return nil
}

func busy(dir string, f *os.File) error {
	return fault.Input("output "+dir, "wait for its end, or choose another directory", "another run writes it%s", holder(f))
}

// current tells whether the open file is still the one with that name.
func current(f *os.File, path string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(held, named)
}

// holder tells which process holds the lock, where its file says.
func holder(f *os.File) string {
	text := make([]byte, 32)
	n, _ := f.Read(text)
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return ": process " + pid
	}
	return ""
}

// Release ends the lock. A directory that was made for it and stayed empty goes too.
func (l *Lock) Release() {
	_ = os.Remove(l.file.Name())
	_ = l.file.Close()
	if l.made {
		_ = os.Remove(filepath.Dir(l.file.Name())) // fails where there is something in it
	}
}
