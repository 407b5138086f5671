package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/weights"
)

// loadSpeed is the JSON of bench load. Rates are bytes of the files a second.
type loadSpeed struct {
	Engine   string  `json:"engine"`
	Shape    string  `json:"shape"`          // or the model's directory
	Random   bool    `json:"random_weights"` // not the directory's own
	DType    string  `json:"dtype"`
	Bytes    int     `json:"bytes"`
	Largest  int     `json:"largest_tensor_bytes"`
	Rate     float64 `json:"bytes_per_second"`
	CopyRate float64 `json:"copy_bytes_per_second"` // plain copies of the mapped tensors to fresh memory
	OfCopy   float64 `json:"of_copy"`
	Extra    int     `json:"peak_extra_bytes"` // memory beyond the model's own size while it loads
}

func benchLoadCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "load [--shape NAME | --model DIR [--random-weights]]",
		Short: "how fast a model is loaded, and the memory that takes",
		Long: `bench load writes a checkpoint of random bfloat16 weights to a temporary directory and
loads it, or loads the one in a directory, in the files' number format, beside plain copies of
the same bytes. A first run that does not count brings the files into the system's cache: memory
is measured, not the disk.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora bench load --shape 2gb --json -",
	}
	jsonPath := addJSON(cmd)
	b := addBenched(cmd, "2gb")
	runs := cmd.Flags().Int("runs", 3, "counted runs; the median is told")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.benchLoad(cmd.Context(), b, *runs)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), "%.2f GB loaded at %.1f GB/s, %.0f %% of plain copies (%.1f GB/s); at most %.0f MB beside the model, its largest tensor has %.0f MB\n",
			float64(r.Bytes)/1e9, r.Rate/1e9, 100*r.OfCopy, r.CopyRate/1e9, float64(r.Extra)/1e6, float64(r.Largest)/1e6)
		return a.writeJSON(*jsonPath, r)
	}
	return cmd
}

func (a *app) benchLoad(ctx context.Context, b *benched, runs int) (r loadSpeed, err error) {
	if err := inRange("runs", runs, 1, 1000); err != nil {
		return r, err
	}
	config, d, err := b.describe()
	if err != nil {
		return r, err
	}
	eng, err := a.engine(ctx)
	if err != nil {
		return r, err
	}
	dir := b.dir
	if b.drawn() {
		if dir, err = os.MkdirTemp("", "alphalora-load-*"); err != nil {
			return r, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := writeRandom(dir, config, d); err != nil {
			return r, err
		}
	}
	r = loadSpeed{Engine: eng.Name, Shape: b.name(), Random: b.drawn()}
	if r.Bytes, r.Largest, err = sizesOf(dir); err != nil {
		return r, err
	}
	load, err := median(runs, func() error { return r.load(ctx, eng, dir) })
	if err != nil {
		return r, err
	}
	copies, err := median(runs, func() error { return copyAll(dir) })
	if err != nil {
		return r, err
	}
	r.Rate, r.CopyRate = float64(r.Bytes)/load.Seconds(), float64(r.Bytes)/copies.Seconds()
	r.OfCopy = r.Rate / r.CopyRate
	return r, nil
}

// load is one counted run; it notes the memory that it took.
func (r *loadSpeed) load(ctx context.Context, eng *engine.Engine, dir string) error {
	forgetPeak()
	before := memoryOf("VmRSS:")
	m, err := model.Load(ctx, eng, dir, model.FileDType)
	if err != nil {
		return err
	}
	r.DType = m.DType()
	r.Extra = max(r.Extra, memoryOf("VmHWM:")-before-r.Bytes)
	m.Free()
	return nil
}

// writeRandom writes a checkpoint of a shape; all tensors are cut from the same values.
func writeRandom(dir, config string, d model.Description) error {
	specs := slices.DeleteFunc(d.Specs(), func(s weights.Spec) bool { return s.Optional })
	size := func(s weights.Spec) int {
		n := 2
		for _, dim := range s.Shape {
			n *= dim
		}
		return n
	}
	largest := 0
	for _, s := range specs {
		largest = max(largest, size(s))
	}
	data, rng := make([]byte, largest), rand.New(rand.NewPCG(1, 2))
	for i := 0; i+1 < len(data); i += 2 { // numbers between 2⁻⁷ and 2⁻⁵, of either sign
		v := rng.Uint32()
		data[i], data[i+1] = byte(v), byte(0x3c|v>>8&0x80)
	}
	var list []weights.Tensor
	for _, s := range specs {
		list = append(list, weights.Tensor{Name: s.Name, DType: weights.BF16, Shape: s.Shape, Data: data[:size(s)]})
	}
	if err := weights.Write(filepath.Join(dir, weights.SingleFile), list, nil); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644)
}

// sizesOf is how many bytes a checkpoint's tensors have, and the largest of them.
func sizesOf(dir string) (total, largest int, err error) {
	set, err := weights.Open(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range set.Names() {
		t, _ := set.Get(name)
		total, largest = total+len(t.Data), max(largest, len(t.Data))
	}
	return total, largest, set.Close()
}

// copyAll copies every mapped tensor to memory that is fresh from the system, as a
// model's is.
func copyAll(dir string) error {
	set, err := weights.Open(dir)
	if err != nil {
		return err
	}
	var fresh [][]byte
	for _, name := range set.Names() {
		t, _ := set.Get(name)
		to, err := unix.Mmap(-1, 0, len(t.Data), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return errors.Join(err, set.Close())
		}
		copy(to, t.Data)
		fresh = append(fresh, to)
	}
	err = set.Close()
	for _, data := range fresh {
		err = errors.Join(err, unix.Munmap(data))
	}
	return err
}

// memoryOf reads a line of this process's memory, in bytes; 0 where the system has none.
func memoryOf(line string) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), line)
	var kilobytes int
	_, _ = fmt.Sscan(rest, &kilobytes)
	return 1024 * kilobytes
}

// forgetPeak lets the system's record of this process's peak memory begin anew.
func forgetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }
