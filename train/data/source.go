package data

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"alphalora/internal/fault"
)

// Source is a file of records.
type Source struct {
	Path   string
	Weight float64 // how often its records come in an epoch; 0 is read as 1
}

// Sources are files that each come once an epoch, or as weights say where there are any.
func Sources(paths []string, weights []float64) []Source {
	list := make([]Source, len(paths))
	for i, path := range paths {
		list[i] = Source{Path: path, Weight: 1}
		if i < len(weights) {
			list[i].Weight = weights[i]
		}
	}
	return list
}

// input is an open file whose bytes are hashed as they are read, and which must stay as
// it is until the end.
type input struct {
	path string
	f    *os.File
	info fs.FileInfo
	hash hash.Hash
	read int64 // bytes so far
}

func open(path string) (*input, error) {
	info, err := os.Stat(path) // first, as opening a pipe would wait for its writer
	if err != nil {
		return nil, unreadable(path, err)
	}
	if info.IsDir() {
		return nil, fault.Input(path, nameFile, "is a directory")
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Input(path, nameFile, "is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if info, err = f.Stat(); err != nil {
		_ = f.Close()
		return nil, unreadable(path, err)
	}
	return &input{path: path, f: f, info: info, hash: sha256.New()}, nil
}

// nameFile is the remedy for a path that is no data file.
const nameFile = "name a JSON, JSONL or Parquet file"

func unreadable(path string, err error) error {
	return fault.Input(path, nameFile, "cannot be read: %v", fault.Reason(err))
}

func (in *input) Read(p []byte) (int, error) {
	n, err := in.f.Read(p)
	_, _ = in.hash.Write(p[:n]) // a hash takes everything
	in.read += int64(n)
	return n, err
}

// finish returns the file's SHA-256, or what happened to it while it was read.
func (in *input) finish() (sum string, err error) {
	now, err := os.Stat(in.path)
	why := ""
	switch {
	case err != nil:
		why = fmt.Sprintf("vanished while it was read: %v", fault.Reason(err))
	case now.Size() != in.info.Size() || in.read != in.info.Size():
		why = fmt.Sprintf("changed while it was read: it had %d bytes, then %d, of which %d were read", in.info.Size(), now.Size(), in.read)
	case !os.SameFile(now, in.info) || !now.ModTime().Equal(in.info.ModTime()):
		why = "changed while it was read"
	}
	if why != "" {
		return "", fault.Input(in.path, "leave the file as it is until it is read", "%s", why)
	}
	return hex.EncodeToString(in.hash.Sum(nil)), nil
}

// hashAll hashes the whole file, for a format that is not read from front to end.
func (in *input) hashAll() error {
	if _, err := io.Copy(io.Discard, in); err != nil {
		return unreadable(in.path, err)
	}
	_, err := in.f.Seek(0, io.SeekStart)
	return err
}

func (in *input) close() { _ = in.f.Close() }
