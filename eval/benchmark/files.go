package benchmark

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"alphalora/internal/fault"
)

// Files are the paths of a split's files below dir, which is the benchmark's own folder
// or holds one folder a benchmark: those of the first pattern that matches any. Only
// Parquet comes in several files, all of which must be there.
func (b Benchmark) Files(dir, split string) ([]string, error) {
	patterns, ok := b.files[split]
	if !ok {
		return nil, fault.Input(fmt.Sprintf("split %q", split), "choose one of "+strings.Join(slices.Sorted(maps.Keys(b.files)), ", "),
			"is not a split of %s", b.Name)
	}
	folder, err := b.folder(dir)
	if err != nil {
		return nil, err
	}
	for _, pattern := range patterns {
		found, err := fsGlob(folder, pattern)
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			return found, complete(found)
		}
	}
	return nil, &noFile{fault.Input(folder, "put one of "+strings.Join(patterns, ", ")+" there", "holds no %s file of %s", split, b.Name)}
}

// noFile says that a split has no file.
type noFile struct{ error }

func (n *noFile) Unwrap() error { return n.error }

// fsGlob matches a pattern below a folder, whose own name is no pattern; sorted.
func fsGlob(folder, pattern string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(escapeGlob(folder), filepath.FromSlash(pattern)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	slices.Sort(names)
	return names, nil
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

var shardPattern = regexp.MustCompile(`-(\d{5})-of-(\d{5})`)

// complete refuses a set of numbered files of which some are missing.
func complete(paths []string) error {
	shard := shardPattern.FindStringSubmatch(filepath.Base(paths[0]))
	if shard == nil {
		return nil
	}
	if n, _ := strconv.Atoi(shard[2]); n != len(paths) {
		return fault.Input(paths[0], "put all of its parts there", "is one of %d parts, of which %d are there", n, len(paths))
	}
	return nil
}

// folder is the benchmark's own folder: dir/NAME where that exists, in whatever case
// (GLUE's is CoLA), else dir.
func (b Benchmark) folder(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fault.Input(dir, "name a benchmark's folder, or the folder that holds one folder a benchmark", "is not a folder that can be read: %v", fault.Reason(err))
	}
	for _, e := range entries {
		if own := filepath.Join(dir, e.Name()); strings.EqualFold(e.Name(), b.Name) && isDir(own) {
			return own, nil
		}
	}
	base := filepath.Base(filepath.Clean(dir))
	for _, other := range All() {
		if strings.EqualFold(other.Name, base) && other.Name != b.Name {
			return "", fault.Input(dir, "name the folder of "+b.Name, "is the folder of %s, not of %s", other.Name, b.Name)
		}
	}
	return dir, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
