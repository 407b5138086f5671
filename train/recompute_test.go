package train

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"regexp"
	"testing"

	"alphalora/internal/engine"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"

	"github.com/stretchr/testify/require"
	"k8s.io/klog/v2"
)

// TestCheckpointingChangesNoGradient holds the memory-saving backward pass to the plain one,
// dropout and routing losses included, with each kind, over bases in few bits, and in
// full-parameter training.
func TestCheckpointingChangesNoGradient(t *testing.T) {
	same := func(t *testing.T, m *model.Model, a *moelora.Adapter) {
		var sums, grads [2][]float32
		for i, again := range []bool{false, true} {
			s := quick()
			s.zLoss, s.rematerialise = 0.01, again
			st, err := newStepper(m, a, s)
			require.NoError(t, err)
			sums[i], grads[i] = flatGradients(t, st, sentence(4, 20))
			st.close()
		}
		require.Positive(t, norm(grads[0]))
		require.InDeltaSlice(t, sums[0], sums[1], 1e-4)
		require.InDeltaSlice(t, grads[0], grads[1], 1e-6)
	}
	for _, k := range moelora.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			m, a := tinyOf(t, k)
			same(t, m, a)
		})
	}
	for stored, k := range map[quant.Kind]moelora.Kind{quant.Int8: moelora.DoRA, quant.FourBit: moelora.MixLoRA} {
		t.Run(stored.String()+" "+k.Name, func(t *testing.T) {
			m, a := tinyStored(t, k, stored)
			same(t, m, a)
		})
	}
	t.Run("full", func(t *testing.T) {
		m, _ := tiny(t)
		same(t, m, nil)
	})
}

// TestCheckpointingSavesMemory holds what the engine says of its compiled programs: with
// layers computed again the inside of one layer is held at a time, not of all. Routing losses
// and dropout are on: what they ask of a layer must not bring it back early.
func TestCheckpointingSavesMemory(t *testing.T) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	if eng.Name != engine.CPU {
		t.Skipf("%s does not tell the memory of its programs", eng.Name)
	}
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 32, Layers: 6, Heads: 4, KVHeads: 2, HeadDim: 8,
		Intermediate: 96, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.35, Rope: model.PlainRope(8, 10000), Activation: model.SiLU}
	m, err := model.NewRandom(eng, d, "float32", 5)
	require.NoError(t, err)
	defer m.Free()
	experts := []int{1, 2, 3, 2, 3, 2}
	a, err := moelora.New(m, moelora.Shape{Kind: moelora.MoELoRA, Rank: 4, Alpha: 8, Experts: experts, TopK: moelora.MoELoRA.TopK(experts), Targets: model.Sites()}, 6)
	require.NoError(t, err)
	var temporary [2]float64
	for i, again := range []bool{false, true} {
		s := quick()
		s.zLoss, s.rematerialise = 0.01, again
		st, err := newStepper(m, a, s)
		require.NoError(t, err)
		temporary[i] = temporaryBytes(t, func() { flatGradients(t, st, sentence(8, 64)) })
		st.close()
	}
	require.Less(t, temporary[1], 0.5*temporary[0], "temporary bytes without and with: %.0f", temporary)
}

// TestHalfPrecisionHoldsNoModelInFull holds that a step on a bfloat16 base, whose products a
// CPU computes in f32, has no f32 copy of the whole base at any time.
func TestHalfPrecisionHoldsNoModelInFull(t *testing.T) {
	eng, err := engine.Open("")
	require.NoError(t, err)
	if eng.Name != engine.CPU {
		t.Skipf("%s does not tell the memory of its programs", eng.Name)
	}
	d := model.Description{Family: "llama", Vocabulary: 40, Hidden: 128, Layers: 6, Heads: 4, KVHeads: 2, HeadDim: 32,
		Intermediate: 512, Context: 64, NormEps: 1e-6, EmbedScale: 1, AttentionScale: 0.2, Rope: model.PlainRope(32, 10000), Activation: model.SiLU}
	m, err := model.NewRandom(eng, d, "bfloat16", 5)
	require.NoError(t, err)
	defer m.Free()
	experts := []int{1, 1, 1, 1, 1, 1}
	a, err := moelora.New(m, moelora.Shape{Kind: moelora.LoRA, Rank: 2, Alpha: 8, Experts: experts, TopK: moelora.LoRA.TopK(experts), Targets: model.Sites()}, 6)
	require.NoError(t, err)
	for _, again := range []bool{false, true} {
		s := quick()
		s.rematerialise = again
		st, err := newStepper(m, a, s)
		require.NoError(t, err)
		temporary := temporaryBytes(t, func() { flatGradients(t, st, sentence(1, 8)) })
		st.close()
		require.Less(t, temporary, 0.5*4*float64(d.Parameters()), "layers again: %v", again)
	}
}

// temporaryBytes is the temporary memory of the largest program that work compiles: the
// engine tells it nowhere but in its log.
func temporaryBytes(t *testing.T, work func()) (most float64) {
	verbosity := func(level string) {
		flags := flag.NewFlagSet("klog", flag.PanicOnError)
		klog.InitFlags(flags)
		require.NoError(t, flags.Set("v", level))
	}
	var log bytes.Buffer
	klog.SetOutput(&log)
	verbosity("1")
	defer func() {
		verbosity("0")
		klog.SetOutput(io.Discard)
	}()
	work()
	klog.Flush()
	for _, found := range regexp.MustCompile(`On Device: [^\n]*?Temporary:([0-9.]+) (\S+)\]`).FindAllStringSubmatch(log.String(), -1) {
		var size float64
		_, err := fmt.Sscan(found[1], &size)
		require.NoError(t, err)
		unit, ok := map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[found[2]]
		require.True(t, ok, found[2])
		most = max(most, size*unit)
	}
	require.Positive(t, most, "the log tells no memory: %s", log.String())
	return most
}
