package train

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"
)

// Memory is what a run is estimated to need at its peak, in bytes.
type Memory struct {
	Engine      int64 // the process and the engine with its compiler
	Weights     int64 // the base model's
	Trained     int64 // variables that move, their gradients and moments
	Activations int64 // of the largest micro-batch
}

// What the peak holds of each part. The shares were fitted to peaks of bench train on
// xla:cpu; docs/runs.md has them, and how far the estimate is off.
const (
	engineBytes    = 360e6
	weightCopies   = 1.07
	trainedBytes   = 150 // a variable's value
	activationKept = 2.4 // times the inputs and outputs of all projections, in f32
	scoresKept     = 2.2 // times the attention's scores, in f32
)

// Estimate tells the peak memory of steps with micro-batches of rows·length tokens. a is the
// shape of the adapter, nil in full-parameter training. dtype is the base's number format.
// stored is how the projections are, which are made whole one after the other.
// Gradient checkpointing is not counted: on xla:cpu it was seen to save nothing.
func Estimate(d model.Description, a *moelora.Shape, dtype string, stored quant.Kind, backend string, rows, length int) Memory {
	parameters := int64(d.Parameters())
	trained := parameters
	if a != nil {
		trained = int64(moelora.Count(d, *a).Trainable)
	}
	tokens, width := int64(rows)*int64(length), int64(0)
	for _, group := range model.Groups() {
		in, _ := d.SiteDims(group[0])
		width += int64(in)
		for _, site := range group {
			_, out := d.SiteDims(site)
			width += int64(out)
		}
	}
	layer := activationKept*float64(width) + scoresKept*float64(d.Heads*length)
	return Memory{Engine: engineBytes, Weights: int64(weightCopies * float64(baseBytes(d, dtype, stored, backend))),
		Trained: trainedBytes * trained, Activations: int64(4 * float64(tokens) * float64(d.Layers) * layer)}
}

// baseBytes is what the base's weights take: those in few bits as they are stored, and one of
// them whole, in f32.
func baseBytes(d model.Description, dtype string, stored quant.Kind, backend string) int64 {
	bytes := 4
	switch {
	case dtype == "float32":
	case backend == engine.CPU:
		bytes = 2 + 4 // its products are computed in f32, from a copy
	default:
		bytes = 2
	}
	whole, few, largest := d.Parameters(), 0, 0
	if stored == quant.None {
		return int64(bytes * whole)
	}
	for _, site := range model.Sites() {
		in, out := d.SiteDims(site)
		whole, few, largest = whole-d.Layers*in*out, few+d.Layers*stored.Bytes(out, in), max(largest, in*out)
	}
	return int64(bytes*whole + few + 4*largest)
}

// Total is the whole need.
func (m Memory) Total() int64 { return m.Engine + m.Weights + m.Trained + m.Activations }

func (m Memory) String() string {
	gb := func(n int64) float64 { return float64(n) / 1e9 }
	return fmt.Sprintf("memory estimated %.1f GB: weights %.1f, what is trained %.1f, activations %.1f, engine %.1f",
		gb(m.Total()), gb(m.Weights), gb(m.Trained), gb(m.Activations), gb(m.Engine))
}

// beyond is how many times the whole memory a run may be estimated to need before it is
// refused: the estimate itself is not exact.
const beyond = 1.2

// Fits holds an estimate against a device's memory, of which so much is free; 0 is unknown.
// A run that needs clearly more than there is, is refused; one that needs more than is free
// gets a warning.
func (m Memory) Fits(total, free int64) (warning string, err error) {
	const remedy = "lower training.micro_batch or data.cutoff, or use training.dtype bfloat16"
	need := float64(m.Total())
	switch {
	case total > 0 && need > beyond*float64(total):
		return "", fault.Input("the run", remedy, "%s, but the device has %.1f GB", m, float64(total)/1e9)
	case free > 0 && need > float64(free):
		return fmt.Sprintf("%s, but only %.1f GB are free (%s)", m, float64(free)/1e9, remedy), nil
	}
	return "", nil
}

// HostMemory is the memory of this machine, or of the group of processes that it is shared
// out to, and what of it is free; 0 where the system does not say.
func HostMemory() (total, free int64) {
	total, free = ReadMeminfo("/proc/meminfo")
	limit, err := number("/sys/fs/cgroup/memory.max")
	if err != nil || total > 0 && limit >= total {
		return total, free
	}
	if used, err := number("/sys/fs/cgroup/memory.current"); err == nil {
		free = min(free, limit-used)
	}
	return limit, free
}

func number(path string) (int64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
}

// ReadMeminfo reads the two lines of Linux's meminfo file that matter, in bytes; 0 where it
// is absent.
func ReadMeminfo(path string) (total, available int64) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "MemTotal:":
			total = kib << 10
		case "MemAvailable:":
			available = kib << 10
		}
	}
	return total, available
}
