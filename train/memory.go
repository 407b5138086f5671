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
	Scores      int64 // of the vocabulary, their softmax and gradient
}

// Size is what the memory of a step depends on beside the model and its adapter.
type Size struct {
	DType        string     // of the base
	Stored       quant.Kind // how the base's projections are stored; they are made whole one after the other
	Backend      string     // as of [engine.Engine]
	Rows, Length int        // of a micro-batch
	Recompute    bool       // gradient checkpointing
	Flash        bool       // attention without scores
}

// facts tells what the peak holds on a backend.
type facts struct {
	engine   float64 // bytes of the process
	layer    float64 // bytes of the engine and its compiler for each layer
	weights  float64 // times the base's own bytes
	trained  float64 // bytes for a variable's value
	inside   float64 // times the inputs and outputs of a layer's projections
	value    float64 // bytes of one of those; 0: as many as the base's have
	attended float64 // times the attention's scores, in f32
	layers   float64 // whose inside is held with Recompute
}

// How the numbers came about, and how far the estimate is off: docs/training.md.
var (
	// fitted to peaks of bench train, but for what is trained
	onCPU = facts{engine: 100e6, layer: 90e6, weights: 1, trained: 8 * 4, inside: 2.2, value: 4, attended: 2, layers: 2}
	// fitted to what XLA's compiler lays out for an H100 (docs/gpu.md). A variable is held five
	// times beside activations: itself, the gradients so far and with this micro-batch's, two
	// moments. The update holds it more often, but no activations.
	onGPU = facts{weights: 1, trained: 5 * 4, inside: 1.5, attended: 0.9, layers: 1}
)

// Estimate tells the peak memory of steps. a is the shape of the adapter, nil in
// full-parameter training.
func Estimate(d model.Description, a *moelora.Shape, s Size) Memory {
	f := onGPU
	if s.Backend == engine.CPU || s.Backend == engine.Go {
		f = onCPU
	}
	bytes := 2.0
	if s.DType == "float32" {
		bytes = 4
	}
	parameters := d.Parameters()
	weights := f.weights * float64(d.Bytes(int(bytes), s.Stored))
	if s.Stored != quant.None {
		weights += 4 * float64(largest(d))
	}
	trained := parameters
	if a != nil {
		trained = moelora.Count(d, *a).Trainable
	}
	tokens, layers := float64(s.Rows*s.Length), float64(d.Layers)
	held, kept := layers, 0.0
	if s.Recompute {
		held, kept = min(layers, f.layers), bytes*float64(d.Hidden)*layers
	}
	value, attended := f.value, 4*f.attended*float64(d.Heads*s.Length)
	if value == 0 {
		value = bytes
	}
	if s.Flash {
		attended = 0
	}
	inside := value*f.inside*float64(projected(d)) + attended
	scores := min(tokens*float64(d.Vocabulary), model.MaxScores)
	return Memory{Engine: int64(f.engine + f.layer*layers), Weights: int64(weights),
		Trained: int64(f.trained * float64(trained)), Activations: int64(tokens * (held*inside + kept)), Scores: int64(3 * 4 * scores)}
}

// largest counts the values of the largest projection.
func largest(d model.Description) (most int) {
	for _, site := range model.Sites() {
		in, out := d.SiteDims(site)
		most = max(most, in*out)
	}
	return most
}

// projected counts the values that a layer's projections read and write for a token.
func projected(d model.Description) (width int) {
	for _, group := range model.Groups() {
		in, _ := d.SiteDims(group[0])
		width += in
		for _, site := range group {
			_, out := d.SiteDims(site)
			width += out
		}
	}
	return width
}

// Total is the whole need.
func (m Memory) Total() int64 { return m.Engine + m.Weights + m.Trained + m.Activations + m.Scores }

func (m Memory) String() string {
	return fmt.Sprintf("memory estimated %.1f GB: %s", float64(m.Total())/1e9, m.Parts())
}

// Parts lists what the need is made of.
func (m Memory) Parts() string {
	gb := func(n int64) float64 { return float64(n) / 1e9 }
	parts := fmt.Sprintf("weights %.1f, what is trained %.1f, activations %.1f, scores of the vocabulary %.1f",
		gb(m.Weights), gb(m.Trained), gb(m.Activations), gb(m.Scores))
	if m.Engine > 0 {
		parts += fmt.Sprintf(", engine %.1f", gb(m.Engine))
	}
	return parts
}

// beyond is how many times the whole memory a run may be estimated to need before it is
// refused: the estimate itself is not exact.
const beyond = 1.2

// Fits holds an estimate against the memory that a run can have, of which so much is free; 0
// is unknown. A run that needs clearly more than there is, is refused; one that needs more
// than is free gets a warning. remedy tells what would fit in so much.
func (m Memory) Fits(total, free int64, remedy func(memory int64) string) (warning string, err error) {
	need := float64(m.Total())
	switch {
	case total > 0 && need > beyond*float64(total):
		return "", fault.Input("the run", remedy(total), "%s, but the device has %.1f GB for it", m, float64(total)/1e9)
	case free > 0 && need > float64(free):
		return fmt.Sprintf("%s, but only %.1f GB are free (%s)", m, float64(free)/1e9, remedy(free)), nil
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
