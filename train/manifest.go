package train

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/train/data"
)

// Files of a checkpoint, beside an adapter's own and those that the caller attaches.
const (
	stateFile    = "state.safetensors" // AdamW's m and v; without an adapter the weights too
	manifestFile = "checkpoint.json"
	sumsFile     = "SHA256SUMS" // of every other file, as sha256sum writes and checks it
)

// manifestVersion of the checkpoints that this program writes.
const manifestVersion = 1

// maxManifest bounds the two files that say what a checkpoint holds.
const maxManifest = 1 << 22

// Manifest is checkpoint.json: where a run stands. Its learning rate, the order of its data
// and its dropout are functions of the configuration, the seed and the step, so that these
// numbers are all that there is to keep of schedule, cursor and generator.
type Manifest struct {
	Format   int     `json:"format_version"`
	Step     int     `json:"step"` // steps done; the next one is Step+1
	Seed     int64   `json:"seed"`
	Cursor   Cursor  `json:"data_cursor"`
	NextRate float64 `json:"next_learning_rate"`
	Engine   string  `json:"engine"`
	Origin   Origin  `json:"origin"`
}

// Cursor is where the data stand: so many whole epochs, and so many steps of the next one.
type Cursor struct {
	Epochs int `json:"epochs"`
	Steps  int `json:"steps"`
}

// Origin identifies what a run is made from. A run goes on from a checkpoint only with the
// same; names of files may differ.
type Origin struct {
	Base        string      `json:"base,omitempty"`        // SHA-256 of the base model's tensors; empty where they began at random
	Description string      `json:"description"`           // SHA-256 of how the model is built
	Quant       string      `json:"model_quant,omitempty"` // how its projections are stored; empty for whole
	Data        []data.File `json:"data,omitempty"`
	Tokens      string      `json:"tokens,omitempty"` // SHA-256 of all samples' tokens and labels
	Validation  []data.File `json:"validation,omitempty"`
}

// identify completes an origin with the model's fingerprints.
func (o Origin) identify(m *model.Model) (Origin, error) {
	description, err := json.Marshal(m.Description)
	if err != nil {
		return o, err
	}
	sum := sha256.Sum256(description)
	o.Description = hex.EncodeToString(sum[:])
	o.Quant = m.QuantFingerprint()
	o.Base, err = m.Fingerprint()
	return o, err
}

// same holds the origin of a checkpoint against that of the run that goes on from it.
func (o Origin) same(dir string, now Origin) error {
	const restore = "put it back as it was, or start a new run"
	if o.Base != now.Base || o.Description != now.Description {
		return fault.Input(dir, "give the base model of the run", "is of another base model: weights %.16s and description %.16s, now %.16s and %.16s",
			o.Base, o.Description, now.Base, now.Description)
	}
	if o.Quant != now.Quant {
		return fault.Input(dir, "set model_quant as the run had it", "is of a base with model_quant %q, now %q", orNone(o.Quant), orNone(now.Quant))
	}
	for key, lists := range map[string][2][]data.File{"data.train": {o.Data, now.Data}, "data.validation": {o.Validation, now.Validation}} {
		before, after := lists[0], lists[1]
		if len(before) != len(after) {
			return fault.Input(key, restore, "has %d files, but the run of %s had %d", len(after), dir, len(before))
		}
		for i, f := range after {
			if f.SHA256 != before[i].SHA256 {
				return fault.Input(f.Path, restore, "has changed since %s was written: %d bytes with sha256 %.16s, then %d with %.16s",
					dir, f.Bytes, f.SHA256, before[i].Bytes, before[i].SHA256)
			}
		}
	}
	if o.Tokens != now.Tokens {
		return fault.Input(dir, "use the tokenizer and the template of the run", "was trained on other tokens of the same files: sha256 %.16s, now %.16s", o.Tokens, now.Tokens)
	}
	return nil
}

func orNone(stored string) string {
	if stored == "" {
		return "none"
	}
	return stored
}

// seal writes the manifest, and the checksums of all files of a checkpoint's directory.
func seal(dir string, m Manifest) error {
	content, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, manifestFile), append(content, '\n')); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		sum, err := digest(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(&sums, "%s  %s\n", sum, e.Name())
	}
	return atomicfile.WriteBytes(filepath.Join(dir, sumsFile), sums.Bytes())
}

// verify holds every file of a checkpoint against its checksum.
func verify(dir string) error {
	content, err := readBounded(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	sums, err := parseSums(content)
	if err != nil {
		return fmt.Errorf("%s is damaged: %w", sumsFile, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == sumsFile {
			continue
		}
		want, listed := sums[e.Name()]
		if !listed {
			return fmt.Errorf("%s is not in %s", e.Name(), sumsFile)
		}
		delete(sums, e.Name())
		switch got, err := digest(filepath.Join(dir, e.Name())); {
		case err != nil:
			return err
		case got != want:
			return fmt.Errorf("%s is damaged: its sha256 is %.16s, written was %.16s", e.Name(), got, want)
		}
	}
	for name := range sums {
		return fmt.Errorf("%s is missing", name)
	}
	return nil
}

// parseSums reads lines of a checksum, two spaces and a plain file name.
func parseSums(content []byte) (map[string]string, error) {
	sums := map[string]string{}
	for line := range strings.Lines(string(content)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		raw, err := hex.DecodeString(sum)
		if !ok || err != nil || len(raw) != sha256.Size || name == "" || name != filepath.Base(name) || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("%.80q is no line of it", line)
		}
		sums[name] = sum
	}
	for _, name := range []string{stateFile, manifestFile} {
		if sums[name] == "" {
			return nil, fmt.Errorf("%s is not in it", name)
		}
	}
	return sums, nil
}

// parseManifest reads a checkpoint.json.
func parseManifest(content []byte) (m Manifest, err error) {
	if err := json.Unmarshal(content, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", manifestFile, err)
	}
	if m.Format != manifestVersion || m.Step < 1 {
		return m, fmt.Errorf("%s has format_version %d and step %d: version %d and a step from 1 are needed", manifestFile, m.Format, m.Step, manifestVersion)
	}
	return m, nil
}

// digest is the SHA-256 of a file.
func digest(path string) (string, error) {
	f, err := openFile(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s cannot be read: %w", filepath.Base(path), fault.Reason(err))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func readBounded(path string) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(content) > maxManifest {
		err = fmt.Errorf("%s has more than the %d bytes allowed", filepath.Base(path), maxManifest)
	}
	return content, err
}

// openFile opens a regular file, and nothing that would wait for a writer.
func openFile(path string) (*os.File, error) {
	name := filepath.Base(path)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, fault.Reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, fault.Reason(err))
	}
	return f, nil
}
