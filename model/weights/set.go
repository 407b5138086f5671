package weights

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"golang.org/x/sys/unix"

	"alphalora/internal/fault"
)

// Set is the tensors of one file or of all shards of a checkpoint.
type Set struct {
	path     string
	tensors  map[string]Tensor
	metadata map[string]string
	mapped   [][]byte
}

// Files of a checkpoint: the one that holds it all, or the one that lists its shards.
const (
	SingleFile = "model.safetensors"
	IndexFile  = "model.safetensors.index.json"
)

// maxIndex bounds an index file.
const maxIndex = 64 << 20

// Open maps the checkpoint of a directory: model.safetensors, or the shards of
// model.safetensors.index.json.
func Open(dir string) (*Set, error) {
	path := filepath.Join(dir, SingleFile)
	if _, err := os.Stat(path); err == nil {
		return OpenFile(path)
	}
	if _, err := os.Stat(filepath.Join(dir, IndexFile)); err == nil {
		return openShards(dir)
	}
	return nil, fault.Input(dir, "give a directory in Hugging Face layout; convert other formats to safetensors first",
		"holds neither %s nor %s", SingleFile, IndexFile)
}

// Present tells whether a directory holds a checkpoint for [Open].
func Present(dir string) bool {
	for _, name := range []string{SingleFile, IndexFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// OpenFile maps one safetensors file.
func OpenFile(path string) (*Set, error) {
	s := &Set{path: path, tensors: map[string]Tensor{}}
	if _, err := s.add(path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// add maps a file and returns the names of its tensors.
func (s *Set) add(path string) ([]string, error) {
	data, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		s.mapped = append(s.mapped, data)
	}
	list, metadata, err := parseHeader(data)
	if err != nil {
		return nil, fault.Input(path, "download it again", "%v", err)
	}
	if s.metadata == nil {
		s.metadata = metadata
	}
	names := make([]string, len(list))
	for i, t := range list {
		if old, twice := s.tensors[t.Name]; twice {
			return nil, fault.Input(path, "download the checkpoint again", "tensor %s is in %s too", t.Name, old.File)
		}
		t.File = path
		s.tensors[t.Name], names[i] = t, t.Name
	}
	return names, nil
}

func mapFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for its writer
	if err != nil {
		return nil, fault.Input(path, "download it again", "cannot be read: %v", fault.Reason(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fault.Input(path, "give a safetensors file", "is not a file")
	}
	if info.Size() == 0 {
		return nil, nil
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be mapped: %w", path, err)
	}
	return data, nil
}

// openShards maps every shard of an index, and holds shards and index against each other.
func openShards(dir string) (*Set, error) {
	path := filepath.Join(dir, IndexFile)
	weightMap, err := readIndex(path)
	if err != nil {
		return nil, err
	}
	files := map[string]bool{}
	for _, file := range weightMap {
		files[file] = true
	}
	s := &Set{path: path, tensors: map[string]Tensor{}}
	for _, file := range sortedKeys(files) {
		names, err := s.add(filepath.Join(dir, file))
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		for _, name := range names {
			if weightMap[name] != file {
				err := fault.Input(filepath.Join(dir, file), "download the checkpoint again", "holds tensor %s, which %s places in %q", name, IndexFile, weightMap[name])
				return nil, errors.Join(err, s.Close())
			}
		}
	}
	for _, name := range sortedKeys(weightMap) {
		if _, ok := s.tensors[name]; !ok {
			err := fault.Input(filepath.Join(dir, weightMap[name]), "download the checkpoint again", "lacks tensor %s, which %s places there", name, IndexFile)
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func readIndex(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if info.Size() > maxIndex {
		return nil, fault.Input(path, "download it again", "%d bytes are more than the %d allowed", info.Size(), maxIndex)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var parsed struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &parsed); err != nil {
		return nil, fault.Input(path, "download it again", "%v", err)
	}
	if len(parsed.Map) == 0 {
		return nil, fault.Input(path, "download it again", "has no weight_map")
	}
	for name, file := range parsed.Map {
		if file != filepath.Base(file) || file == "." || file == ".." || file == "" {
			return nil, fault.Input(path, "download it again", "places tensor %.120s in %.120q, which is not a plain file name", name, file)
		}
	}
	return parsed.Map, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// Names lists the tensors, sorted.
func (s *Set) Names() []string { return sortedKeys(s.tensors) }

// Get returns a tensor by name.
func (s *Set) Get(name string) (Tensor, bool) {
	t, ok := s.tensors[name]
	return t, ok
}

// Metadata is the __metadata__ of the file, or of the first shard; it may be nil.
func (s *Set) Metadata() map[string]string { return s.metadata }

// Close unmaps the files: tensors got before are invalid afterwards.
func (s *Set) Close() error {
	var all []error
	for _, data := range s.mapped {
		all = append(all, unix.Munmap(data))
	}
	s.mapped, s.tensors = nil, nil
	return errors.Join(all...)
}

// Spec is a tensor that a checkpoint must hold.
type Spec struct {
	Name     string
	Shape    []int
	Optional bool
}

// maxProblems bounds how many problems one error tells.
const maxProblems = 8

// Check holds the set against what is wanted: missing, unexpected and mis-shaped
// tensors come together in one error.
func (s *Set) Check(want []Spec) error {
	var problems []string
	wanted := map[string]bool{}
	for _, spec := range want {
		wanted[spec.Name] = true
		t, ok := s.tensors[spec.Name]
		switch {
		case !ok && spec.Optional:
		case !ok && len(problems) >= maxProblems:
			problems = append(problems, "") // told by number: each search for a like name costs a pass
		case !ok:
			problems = append(problems, fmt.Sprintf("lacks tensor %s %v%s", spec.Name, spec.Shape, s.near(spec.Name)))
		case fmt.Sprint(t.Shape) != fmt.Sprint(spec.Shape):
			problems = append(problems, fmt.Sprintf("tensor %s is %v where %v is expected", spec.Name, t.Shape, spec.Shape))
		}
	}
	for _, name := range s.Names() {
		if !wanted[name] {
			problems = append(problems, fmt.Sprintf("tensor %.120s %v is not expected", name, s.tensors[name].Shape))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return fault.Input(s.path, "use files that belong together", "%s", strings.Join(problems, "; "))
}

// near names a tensor whose name differs in a few letters.
func (s *Set) near(name string) string {
	for _, other := range s.Names() {
		if max(len(name)-len(other), len(other)-len(name)) <= 2*utf8.UTFMax && levenshtein.ComputeDistance(name, other) <= 2 {
			return fmt.Sprintf(" (there is %s)", other)
		}
	}
	return ""
}

// Fingerprint is the SHA-256 of all tensors (name, format, shape and bytes, in the order
// of their names): it does not depend on how they are sharded. It reads every byte.
func (s *Set) Fingerprint() string {
	h := sha256.New()
	for _, name := range s.Names() {
		t := s.tensors[name]
		_, _ = fmt.Fprintf(h, "%q %s %v\n", name, t.DType, t.Shape)
		_, _ = h.Write(t.Data)
		t.Release()
	}
	return hex.EncodeToString(h.Sum(nil))
}
