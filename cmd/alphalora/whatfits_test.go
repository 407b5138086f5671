package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/internal/testkit"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"
	"alphalora/train"
)

// mistral is a run of Mistral-7B's shape with five experts a layer on a GPU.
func mistral(t *testing.T, rows, length int) sizing {
	_, d, err := benchShape("mistral-7b")
	require.NoError(t, err)
	how := training{benched: &benched{}, experts: []int{5}, rank: 8, rows: rows, length: length, steps: 1}
	kind, err := moelora.KindNamed("moe-lora")
	require.NoError(t, err)
	require.NoError(t, how.check(d, kind))
	shape := how.adapter(kind)
	return sizing{model: d, adapter: &shape, Size: train.Size{DType: "bfloat16", Backend: engine.CUDA, Rows: rows, Length: length}}
}

// TestOffersAreTheMostThatFit holds each offer against the estimate it comes from, at every
// size of memory from none to enough.
func TestOffersAreTheMostThatFit(t *testing.T) {
	offered := 0
	for _, devices := range []engine.Devices{{}, {Count: 4}} {
		for _, dtype := range []string{"bfloat16", "float32"} {
			s := mistral(t, 16, 1024)
			s.DType, s.devices = dtype, devices
			for memory := int64(1e9); memory < 200e9; memory += 17e9 {
				asIs := s.most(memory)
				for i, o := range s.offers(memory) {
					offered++
					require.LessOrEqual(t, o.need().Total(), memory)
					require.Equal(t, i == 0 && asIs > 0, len(o.with) == 0)
					require.True(t, len(o.with) == 0 || o.Rows > asIs, o.with)
					if o.Rows += max(devices.Count, 1); o.Rows <= s.Rows {
						require.Greater(t, o.need().Total(), memory, "one more does not fit")
					}
				}
			}
		}
	}
	require.Greater(t, offered, 50)
}

// TestRemediesAreOffersInWords, of Mistral-7B's shape.
func TestRemediesAreOffersInWords(t *testing.T) {
	for _, c := range []struct {
		memory int64
		wanted string
	}{
		{5e9, `^not one row of 1024 tokens would fit, whatever is set: lower data.cutoff, or take a smaller model$`},
		{12e9, `^training.micro_batch \d+ would fit with training.gradient_checkpointing and model_quant nf4; a lower data.cutoff needs less too$`},
		{40e9, `^training.micro_batch \d+ would fit, 16 with training.gradient_checkpointing, .*\d+ with model_quant nf4; a lower`},
		{500e9, `^training.micro_batch 16 would fit; a lower`},
	} {
		require.Regexp(t, c.wanted, mistral(t, 16, 1024).remedy(c.memory))
	}
}

// TestARunThatDoesNotFitAGPUIsRefusedBeforeItStarts, through the command line, on a GPU whose
// memory is made up.
func TestARunThatDoesNotFitAGPUIsRefusedBeforeItStarts(t *testing.T) {
	config, output := tinyRun(t, 2)
	d, err := model.ReadDescription(filepath.Join(testkit.Root(t), "model", "testdata", "goldens", "tinyllama"))
	require.NoError(t, err)
	experts := []int{1, 3, 2}
	shape := moelora.Shape{Kind: moelora.MoELoRA, Rank: 2, Alpha: 4, Experts: experts, TopK: moelora.DefaultTopK(experts), Targets: model.Sites()}
	s := sizing{model: d, adapter: &shape, Size: train.Size{DType: "float32", Backend: engine.CUDA, Rows: 4, Length: 32}}
	one := s
	one.Rows = 1
	require.Greater(t, float64(s.need().Total()), 1.2*float64(one.need().Total()))

	on := func(memory int64, users []string, more ...string) (stdout, stderr string, status int) {
		gpu := &engine.GPU{Name: "NVIDIA H100", Total: 80e9, Free: memory * 100 / 92, Users: users}
		eng := &engine.Engine{Name: engine.CUDA, GPU: gpu}
		return callWith(t, &faulty{}, eng, append([]string{"train", "--config", config, "--set", "training.micro_batch=4"}, more...)...)
	}
	stdout, stderr, status := on(10e9, nil, "--dry-run")
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, "of 73.6 GB 10.0 are free")
	require.NotContains(t, stderr, "warning")

	_, stderr, status = on(s.need().Total()*9/10, nil, "--dry-run")
	require.Zero(t, status, stderr)
	require.Regexp(t, `warning: memory estimated .* GB are free \(training.micro_batch 3 would fit, 4 with training.gradient_checkpointing`, stderr)

	user := "python (process 77, 70.0 GB)"
	_, stderr, status = on(one.need().Total()*101/100, []string{user})
	require.Equal(t, fault.StatusBad, status, stderr)
	require.Regexp(t, `^alphalora: the run: memory estimated .*, but the device has 0.0 GB for it \(end python \(process 77, 70.0 GB\), `+
		`or name another GPU in CUDA_VISIBLE_DEVICES; training.micro_batch 1 would fit, `, complaint(t, stderr))
	require.NoFileExists(t, filepath.Join(output, train.MetricsFile))

	_, stderr, status = on(d.Bytes(4, quant.None)*6/10, []string{user})
	require.Equal(t, fault.StatusBad, status, stderr)
	require.Regexp(t, `^alphalora: the model's weights: .* in float32 with model_quant none are .* for them; it is used by python .*; in bfloat16 with model_quant none they are`, complaint(t, stderr))
}

func TestFlashIsRefusedOnOtherEngines(t *testing.T) {
	refused(t, "--attention flash: it is xla:cuda's, not", "bench", "train", "--shape", "tiny", "--experts", "2", "--attention", "flash", "--backend", "go", "--dtype", "float32", "--length", "8", "--rows", "1")
	refused(t, "--attention fast: there is no such attention", "bench", "train", "--shape", "tiny", "--experts", "2", "--attention", "fast", "--backend", "go", "--length", "8", "--rows", "1")
}
