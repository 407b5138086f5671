package train

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"
	"alphalora/train/data"

	"github.com/stretchr/testify/require"
)

// onDevices opens an engine with so many devices in use, or skips the test.
func onDevices(t *testing.T, devices int, divided bool) *engine.Engine {
	eng, err := engine.Open("")
	require.NoError(t, err)
	t.Cleanup(eng.Close)
	if have := eng.Backend.NumDevices(); have < devices {
		t.Skipf("skipped: %s has %d devices, %d are needed", eng.Name, have, devices)
	}
	require.NoError(t, eng.Use("devices", devices, divided))
	return eng
}

// small is a random model of two layers, with an adapter of 1 and 3 experts. In few bits it
// is twice as wide: so many blocks of nf4 can be divided over four devices.
func small(t *testing.T, eng *engine.Engine, stored quant.Kind) (*model.Model, *moelora.Adapter) {
	width := 16
	if stored != quant.None {
		width = 32
	}
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: width, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: width / 4,
		Intermediate: width * 3 / 2, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.5, Rope: model.PlainRope(width/4, 10000), Activation: model.SiLU, Tied: true}
	m, err := model.NewRandomQuantised(eng, d, "float32", 5, stored)
	require.NoError(t, err)
	experts := []int{1, 3}
	a, err := moelora.New(m, moelora.Shape{Kind: moelora.MoELoRA, Rank: 4, Alpha: 8, Experts: experts, TopK: moelora.MoELoRA.TopK(experts), Targets: model.Sites()}, 6)
	require.NoError(t, err)
	return m, a
}

const deviceSteps = 30

// way is how a leg's base lies, and where, and which checkpoint it goes on from.
type way struct {
	stored  quant.Kind
	devices int
	divided bool // the base
	again   bool // layers are computed again in the backward pass
	from    string
}

// leg trains to the last step. The last batch of an
// epoch has 3 of 8 samples, and each step has up to two micro-batches of 4 rows.
func leg(t *testing.T, dir string, w way) []Metrics {
	var samples data.List
	for i := range 11 {
		s := data.Sample{}
		for j := range 5 + i {
			s.IDs = append(s.IDs, int32((i*7+j*j+3*j)%40))
		}
		samples = append(samples, s)
	}
	dealt, err := data.NewBatcher(samples, data.Plan{Batch: 8, Micro: 4, Shuffle: true, Seed: 3})
	require.NoError(t, err)
	held, err := data.NewBatcher(samples[3:8], data.Plan{Batch: 4, Micro: 4})
	require.NoError(t, err)
	m, a := small(t, onDevices(t, w.devices, w.divided), w.stored)
	require.Equal(t, w.divided, m.Tensors[0].Rank() == 4, "the embedding is divided or whole")
	err = Run(t.Context(), m, a, dealt, Options{Output: dir, Seed: 4, Schedule: Schedule{Kind: "linear", Peak: 1e-2, Warmup: 3, Total: deviceSteps},
		Optimizer: quick().optimizer, MaxGradNorm: 1, Rematerialise: w.again, Dropout: 0.1, Balance: 0.01, ZLoss: 0.001, Validation: Validation{Held: held, Every: 10},
		Checkpoints: Checkpoints{Dir: filepath.Join(dir, "checkpoints"), Every: 10, Keep: 3, Resume: w.from != "", From: w.from}})
	require.NoError(t, err)
	rows, err := ReadMetrics(dir)
	require.NoError(t, err)
	require.Len(t, rows, deviceSteps)
	return rows
}

// patience is for machines that stand still for minutes: devices that wait for the others in
// an exchange end the process after 40 seconds otherwise.
const patience = " --xla_cpu_collective_call_terminate_timeout_seconds=600"

// hasty leaves out what makes machine code good and compiling slow; modules are the same.
const hasty = " --xla_backend_optimization_level=0"

const dumpVariable = "ALPHALORA_TEST_DUMP"

// TestDevicesKeepTheCurve trains on one device and on four, and goes on with a run of four
// on one (over a base in few bits it does not), and with that on four that divide the base and
// compute layers again in the backward pass; all have the same curve. It does so
// in a process of its own, in which XLA writes down what it compiles: each of four devices
// does a quarter of the work, and exchanges what docs/scaling.md says.
func TestDevicesKeepTheCurve(t *testing.T) {
	for _, stored := range []quant.Kind{quant.None, quant.FourBit} {
		t.Run(stored.String(), func(t *testing.T) {
			if os.Getenv(dumpVariable) != "" {
				curves(t, stored)
				return
			}
			requireShares(t, dumpedBy(t), stored)
		})
	}
}

// dumpedBy runs the test again in a process of its own, and returns the folder in which XLA
// wrote down what it compiled there.
func dumpedBy(t *testing.T) (dir string) {
	onDevices(t, 4, false)
	dir = t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	child.Env = append(os.Environ(), dumpVariable+"="+dir, "XLA_FLAGS=--xla_dump_to="+dir+" --xla_dump_hlo_as_text"+hasty+patience)
	out, err := child.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("%s", out)
	return dir
}

// requireShares holds what each of four devices has, does and exchanges.
func requireShares(t *testing.T, dir string, stored quant.Kind) {
	list := dumped(t, dir, "accumulate")
	require.Len(t, list, len(legs(stored)), "one module for each leg")
	one, whole, divided := list[0], list[1], list[len(list)-1]
	t.Logf("one device %+v, four %+v, four that divide the base %+v", one, whole, divided)
	if stored == quant.None {
		require.Equal(t, one, list[2])
	}
	require.Empty(t, one.exchanged)
	m, a := small(t, onDevices(t, 1, false), stored)
	var matrices int64
	for _, tensor := range m.Tensors {
		if tensor.Rank() == 2 {
			matrices += int64(tensor.Shape().ByteSize())
		}
	}
	gradients := 4 * int64(a.Params.Count())
	const sums = 512 // the loss and what routers sum, of all tokens
	require.Equal(t, one.work, 4*whole.work, "a quarter of the work each, none of it twice")
	require.Greater(t, divided.work, whole.work, "the forward pass twice")
	require.Less(t, divided.work, 2*whole.work)
	for _, c := range []compiled{whole, divided} {
		require.Equal(t, 4, c.partitions)
		require.GreaterOrEqual(t, c.exchanged["all-reduce"], gradients)
		require.Less(t, c.exchanged["all-reduce"], gradients+sums)
	}
	require.Len(t, whole.exchanged, 1, "nothing but sums")
	require.Len(t, divided.exchanged, 2, "nothing but sums and weights")
	require.Equal(t, 2*matrices, divided.exchanged["all-gather"], "once forward, once backward; the embedding for the tokens and for the scores")
	require.Equal(t, whole.inputs-matrices*3/4, divided.inputs, "a quarter of the matrices each")
	for _, c := range dumped(t, dir, "apply") {
		require.Empty(t, c.exchanged)
	}
}

// legs are the ways that are compared, and the checkpoint of the one before that each goes
// on from.
func legs(stored quant.Kind) []way {
	one, four, divided := way{devices: 1}, way{devices: 4}, way{devices: 4, divided: true, again: true, from: "step-000020"}
	list := []way{one, four, divided}
	if stored == quant.None {
		one.from = "step-000010"
		list = slices.Insert(list, 2, one)
	}
	for i := range list {
		list[i].stored = stored
	}
	return list
}

// curves trains the legs and compares them.
func curves(t *testing.T, stored quant.Kind) {
	ways, dir := legs(stored), t.TempDir()
	one := leg(t, t.TempDir(), ways[0])
	worst := 0.0
	for _, w := range ways[1:] {
		for i, row := range leg(t, dir, w) {
			for j, pair := range [][2]float64{{one[i].Loss, row.Loss}, {one[i].BalanceLoss, row.BalanceLoss}, {one[i].ZLoss, row.ZLoss}, {one[i].GradNorm, row.GradNorm}} {
				require.InEpsilon(t, pair[0], pair[1], 1e-5, "step %d, number %d", row.Step, j)
				worst = max(worst, max(pair[0]-pair[1], pair[1]-pair[0])/pair[0])
			}
			require.Equal(t, one[i].ValidationLoss == nil, row.ValidationLoss == nil)
			if row.ValidationLoss != nil {
				require.InEpsilon(t, *one[i].ValidationLoss, *row.ValidationLoss, 1e-5)
				require.Equal(t, *one[i].ValidationAccuracy, *row.ValidationAccuracy)
			}
		}
	}
	require.Less(t, one[deviceSteps-1].Loss, one[0].Loss-0.05, "it has learnt")
	t.Logf("largest relative difference %.1e", worst)
}

// TestDividedWeightsLieInParts holds what each device has of a divided base.
func TestDividedWeightsLieInParts(t *testing.T) {
	eng := onDevices(t, 4, true)
	m, _ := small(t, eng, quant.None)
	whole, _ := small(t, onDevices(t, 1, false), quant.None)
	var held [4]int
	for device := range held {
		for i, tensor := range m.On(device) {
			at, err := tensor.Device()
			require.NoError(t, err)
			require.EqualValues(t, device, at)
			held[device] += tensor.Size()
			if m.Axis(i) < 0 {
				require.Equal(t, whole.Tensors[i].Value(), tensor.Value(), "%s is a copy", m.Names[i])
				continue
			}
			full, err := model.Float32s(whole.Tensors[i])
			require.NoError(t, err)
			part, err := model.Float32s(tensor)
			require.NoError(t, err)
			block := len(full) / 8 // rows of a device: two blocks of eight
			require.Equal(t, full[device*block:][:block], part[:block], m.Names[i])
			require.Equal(t, full[(4+device)*block:][:block], part[block:], m.Names[i])
		}
	}
	norms := 5 * m.Hidden
	require.Equal(t, (whole.Count()-norms)/4+norms, held[0])
	for _, h := range held {
		require.Equal(t, held[0], h)
	}
}

func TestDevicesOfBadRuns(t *testing.T) {
	eng := onDevices(t, 1, false)
	err := eng.Use("training.devices", eng.Backend.NumDevices()+1, false)
	require.ErrorContains(t, err, "more devices than the")
	require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	for _, c := range []struct {
		micro, batch, devices int
		says                  string
	}{
		{8, 128, 4, ""}, {6, 24, 1, ""},
		{6, 24, 4, "use 4, the nearest that divides batch 24 too"},
		{7, 28, 4, "use 4, the nearest that divides batch 28 too"},
		{10, 120, 4, "use 8, the nearest"},
		{11, 132, 4, "use 12, the nearest"},
		{1, 6, 4, "no micro_batch fits batch 6: make batch a multiple of 4, such as 8"},
	} {
		err := Divisible(c.micro, c.batch, c.devices)
		if c.says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.says)
		require.Equal(t, fault.StatusBad, fault.ExitStatus(err))
	}
}
