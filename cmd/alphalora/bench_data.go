package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"alphalora/internal/seedling"
	"alphalora/model/tokenizer"
	"alphalora/train/data"
)

// dataSpeed is the JSON of bench data. Rates are tokens a second.
type dataSpeed struct {
	Tokenizer   string  `json:"tokenizer"`
	Records     int     `json:"records"`
	FileBytes   int64   `json:"file_bytes"`
	Tokens      int64   `json:"tokens"`
	Cores       int     `json:"cores"`
	Reading     float64 `json:"reading_seconds"`
	ReadRate    float64 `json:"reading_tokens_per_second"`
	FirstBatch  float64 `json:"first_batch_seconds"` // reading included
	Batching    float64 `json:"batching_seconds"`    // of a whole epoch
	BatchRate   float64 `json:"batching_tokens_per_second"`
	Rate        float64 `json:"tokens_per_second"` // reading and batching together
	Heap        uint64  `json:"heap_bytes"`        // that the data hold while they are dealt out
	PeakMemory  int     `json:"peak_bytes"`        // of the process
	PeakBefore  int     `json:"peak_bytes_before"` // before any was read
	CacheBytes  int64   `json:"cache_bytes"`       // of the temporary file
	Padding     float64 `json:"padding"`           // positions of batches that hold no token
	RecordBytes float64 `json:"heap_bytes_per_record"`
}

// dealing is what bench data is asked for.
type dealing struct {
	model   string
	records int
	cores   int
	packing bool
	shuffle bool
}

func benchDataCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "data [--model DIR] [--records N]",
		Short: "how fast records become batches, and the memory that takes",
		Long: `bench data writes records of instruction, input and output to a temporary file, the
shipped world's tasks over and over with new names and numbers, reads them with a model's
tokenizer, and deals one epoch out in batches of 128, grouped by length. The masks need the
prompt's tokens, so each prompt is encoded twice.`,
		Args:    cobra.NoArgs,
		Example: "  alphalora bench data --records 1000000 --json -",
	}
	jsonPath := addJSON(cmd)
	d := &dealing{}
	f := cmd.Flags()
	f.StringVar(&d.model, "model", "", "tokenizer of this model `DIR` (default: the shipped one)")
	f.IntVar(&d.records, "records", 20_000, "how many records")
	f.IntVar(&d.cores, "cores", 1, "processors to use")
	f.BoolVar(&d.packing, "packing", false, "pack several samples into a row, ungrouped")
	f.BoolVar(&d.shuffle, "shuffle", true, "a new order each epoch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := a.benchData(cmd.Context(), d)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(a.text(*jsonPath), "%d records, %d tokens on %d cores: %.0f tokens/s (reading %.0f, batching %.0f), first batch after %.2f s, %.1f %% padding\n%.1f MB of heap (%.0f bytes a record), peak %.0f MB, %.0f MB before; %.0f MB of temporary file\n",
			r.Records, r.Tokens, r.Cores, r.Rate, r.ReadRate, r.BatchRate, r.FirstBatch, 100*r.Padding,
			float64(r.Heap)/1e6, r.RecordBytes, float64(r.PeakMemory)/1e6, float64(r.PeakBefore)/1e6, float64(r.CacheBytes)/1e6)
		return a.writeJSON(*jsonPath, r)
	}
	return cmd
}

func (a *app) benchData(ctx context.Context, d *dealing) (r dataSpeed, err error) {
	if err := inRange("records", d.records, 1, 100_000_000); err != nil {
		return r, err
	}
	if err := inRange("cores", d.cores, 1, runtime.NumCPU()); err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "alphalora-data-*")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if r.Tokenizer = d.model; d.model == "" {
		r.Tokenizer, d.model = "the shipped model's", filepath.Join(dir, "base")
		if err := seedling.WriteBase(d.model); err != nil {
			return r, err
		}
	}
	path := filepath.Join(dir, "train.jsonl")
	if err := writeBenchRecords(path, d.records); err != nil {
		return r, err
	}
	t, err := tokenizer.Open(d.model)
	if err != nil {
		return r, err
	}
	defer t.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(d.cores))
	r.Records, r.Cores = d.records, d.cores
	return r, r.measure(ctx, d, t, path)
}

// measure reads the file and deals one epoch out.
func (r *dataSpeed) measure(ctx context.Context, d *dealing, t *tokenizer.Tokenizer, path string) error {
	before := heap()
	forgetPeak()
	r.PeakBefore = memoryOf("VmHWM:")
	start := time.Now()
	set, err := data.Read(ctx, data.Sources([]string{path}, nil),
		data.Options{Encoder: t, Vocabulary: t.MaxID() + 1, Cutoff: 256, Workers: d.cores})
	if err != nil {
		return err
	}
	defer func() { _ = set.Close() }()
	r.Reading, r.Tokens, r.FileBytes = time.Since(start).Seconds(), set.AllTokens, set.Files[0].Bytes
	plan := data.Plan{Batch: 128, Micro: 8, Shuffle: d.shuffle, GroupByLength: !d.packing, Seed: 1}
	if d.packing {
		plan.Pack = 256
	}
	b, err := data.NewBatcher(set, plan)
	if err != nil {
		return err
	}
	begun, positions := time.Now(), 0
	for step := range b.StepsPerEpoch() {
		batches, err := b.Step(step)
		if err != nil {
			return err
		}
		for _, m := range batches {
			positions += m.Rows * m.Length
		}
		if step == 0 {
			r.FirstBatch = time.Since(start).Seconds()
		}
	}
	r.Batching = time.Since(begun).Seconds()
	tokens := float64(r.Tokens)
	r.ReadRate, r.BatchRate, r.Rate = tokens/r.Reading, tokens/r.Batching, tokens/(r.Reading+r.Batching)
	r.Padding = 1 - tokens/float64(positions)
	r.PeakMemory, r.CacheBytes = memoryOf("VmHWM:"), set.Bytes()
	r.Heap = max(heap(), before) - before
	r.RecordBytes = float64(r.Heap) / float64(r.Records)
	runtime.KeepAlive(b)
	return nil
}

// heap is what the program holds, without garbage.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// writeBenchRecords writes the tasks' records again and again, each with its number.
func writeBenchRecords(path string, count int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	lines := json.NewEncoder(out)
	var all []seedling.Record
	for _, task := range seedling.NewWorld().Tasks() {
		all = append(all, task.Train...)
	}
	for i := range count {
		record := all[(i*7919)%len(all)]
		record.Instruction += fmt.Sprintf(" (%d)", i)
		if err = lines.Encode(record); err != nil {
			break
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
