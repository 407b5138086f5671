package model

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model/quant"
	"alphalora/model/weights"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// Model is a decoder whose weights lie on the device.
type Model struct {
	Description
	*Params
	Engine *engine.Engine
	Dir    string     // empty for a random model
	InOut  bool       // projections and head lie as [in, out], not as [out, in] like in files
	Quant  quant.Kind // how the projections are stored; with one, InOut is of the head alone

	fingerprint string
}

// swapped tells how projections lie on an engine. XLA's products on a CPU are four times
// faster with [in, out] where few rows are multiplied; a GPU takes either order alike,
// and the file's order then needs no work. docs/generation.md has the figures.
func swapped(eng *engine.Engine) bool { return eng.Name == engine.CPU }

// Fingerprint is the SHA-256 of the checkpoint's tensors, empty for a random model. The
// first call reads every byte of the files.
func (m *Model) Fingerprint() (string, error) {
	if m.fingerprint != "" || m.Dir == "" {
		return m.fingerprint, nil
	}
	set, err := weights.Open(m.Dir)
	if err != nil {
		return "", err
	}
	m.fingerprint = set.Fingerprint()
	return m.fingerprint, set.Close()
}

// Decoder places the model, whose tensors are params, into a graph.
func (m *Model) Decoder(params map[string]*graph.Node) *Decoder {
	return &Decoder{Description: m.Description, Weights: params, InOut: m.InOut, Quant: m.Quant, Devices: m.Devices()}
}

// numberFormats pairs the device's number formats with the files' and their names.
var numberFormats = []struct {
	name, short string
	device      dtypes.DType
	file        weights.DType
}{
	{"float32", "f32", dtypes.Float32, weights.F32},
	{"bfloat16", "bf16", dtypes.BFloat16, weights.BF16},
	{"float16", "f16", dtypes.Float16, weights.F16},
}

// ParseDType reads a configuration's name of a number format.
func ParseDType(name string) (dtypes.DType, weights.DType, error) {
	for _, f := range numberFormats {
		if name == f.name || name == f.short {
			return f.device, f.file, nil
		}
	}
	return dtypes.InvalidDType, "", fault.Input("dtype "+name, "use float32, bfloat16 or float16", "no such number format")
}

// fileFormat is the file's counterpart of a device's number format; empty for none.
func fileFormat(device dtypes.DType) weights.DType {
	for _, f := range numberFormats {
		if device == f.device {
			return f.file
		}
	}
	return ""
}

// FileDType asks for the number format in which the checkpoint holds its embedding.
const FileDType = "file"

// nameOf is the name of the number format of a checkpoint's tensor.
func nameOf(t weights.Tensor) (string, error) {
	for _, f := range numberFormats {
		if t.DType == f.file {
			return f.name, nil
		}
	}
	return "", fault.Input(t.File+": tensor "+t.Name, "name the format to convert it to: float32, bfloat16 or float16",
		"is in %s, which no engine here computes in", t.DType)
}

// DType names the number format of the model's weights.
func (m *Model) DType() string {
	for _, f := range numberFormats {
		if m.Tensors[0].DType() == f.device {
			return f.name
		}
	}
	return m.Tensors[0].DType().String()
}

// Load reads a model directory: config.json, then every tensor that it asks for, in
// dtype ("float32", …, or [FileDType]). Missing, unexpected, mis-shaped and non-finite tensors are errors.
func Load(ctx context.Context, eng *engine.Engine, dir, dtype string) (*Model, error) {
	return LoadQuantised(ctx, eng, dir, dtype, Quantisation{})
}

// LoadQuantised is [Load] with the projections in few bits, all else in dtype.
func LoadQuantised(ctx context.Context, eng *engine.Engine, dir, dtype string, how Quantisation) (*Model, error) {
	d, err := ReadDescription(dir)
	if err != nil {
		return nil, err
	}
	if err := d.storable(how.Kind); err != nil {
		return nil, err
	}
	set, err := weights.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = set.Close() }()
	if err := set.Check(d.Specs()); err != nil {
		return nil, err
	}
	if err := d.checkTied(dir, set); err != nil {
		return nil, err
	}
	m := &Model{Description: d, Params: &Params{}, Engine: eng, Dir: dir, InOut: swapped(eng), Quant: how.Kind}
	if dtype == FileDType {
		embed, _ := set.Get(embedName)
		if dtype, err = nameOf(embed); err != nil {
			return nil, err
		}
	}
	if err := room(eng, d, dtype, how.Kind); err != nil {
		return nil, err
	}
	if err := m.fill(ctx, set, dtype, how); err != nil {
		m.Free()
		return nil, err
	}
	return m, nil
}

// fill moves every tensor of a checkpoint to the device.
func (m *Model) fill(ctx context.Context, set *weights.Set, dtype string, how Quantisation) error {
	stored, err := m.openStored(ctx, set, how)
	if err != nil {
		return err
	}
	defer stored.close()
	for _, p := range m.held() {
		if err := ctx.Err(); err != nil {
			return err
		}
		t, _ := set.Get(p.File)
		if m.Quant != quant.None && p.projects() {
			err = stored.upload(m, p, p.view(t))
		} else {
			err = m.upload(p, p.view(t), dtype)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// upload moves one tensor from the mapped file to the device in one pass, converting it
// where the file's number format is another one. The file's pages are then given back, so
// that loading needs the model's own size and no more.
func (m *Model) upload(p place, t weights.Tensor, dtype string) error {
	device, file, err := ParseDType(dtype)
	if err != nil {
		return err
	}
	turn := m.InOut && p.linear
	shape := shapes.Make(device, t.Shape...)
	if turn {
		slices.Reverse(shape.Dimensions)
	}
	parts, err := m.Engine.FillEach(shape, func(dst []byte) error { return t.Into(dst, file, turn) })
	if engine.Broke(err) {
		return fmt.Errorf("%s: not moved to the device: %w", p.Name, err)
	}
	if err != nil {
		return err
	}
	t.Release()
	_, axis := m.Engine.Devices.Split(shape)
	m.addParts(p.Name, parts, axis)
	return nil
}

// columns reads the matrix [in, out] as [out, in].
func columns(values []float32, out int) []float32 {
	in := len(values) / max(out, 1)
	turned := make([]float32, len(values))
	for o := range out {
		for i := range in {
			turned[o*in+i] = values[i*out+o]
		}
	}
	return turned
}

// NewRandom makes a model of d with fresh weights: projections and embeddings normal
// with deviation 0.02, those that write to the residual stream divided by √(2·layers),
// norms at their neutral value, biases zero. Source of the scaling: Radford et al., 2019.
func NewRandom(eng *engine.Engine, d Description, dtype string, seed uint64) (*Model, error) {
	return NewRandomQuantised(eng, d, dtype, seed, quant.None)
}

// NewRandomQuantised is [NewRandom] with the projections stored as kind says.
func NewRandomQuantised(eng *engine.Engine, d Description, dtype string, seed uint64, kind quant.Kind) (*Model, error) {
	m := &Model{Description: d, Params: &Params{}, Engine: eng, InOut: swapped(eng), Quant: kind}
	if err := d.storable(kind); err != nil {
		return nil, err
	}
	_, file, err := ParseDType(dtype)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 0x5eed))
	for _, p := range d.held() {
		t, err := weights.FromFloat32s(p.Name, p.Shape, d.initial(p.Spec, rng), file)
		if err != nil {
			return nil, err
		}
		if kind != quant.None && p.projects() {
			err = (*stored)(nil).upload(m, p, t)
		} else {
			err = m.upload(p, t, dtype)
		}
		if err != nil {
			m.Free()
			return nil, err
		}
	}
	return m, nil
}

func (d Description) initial(spec weights.Spec, rng *rand.Rand) []float32 {
	n := 1
	for _, dim := range spec.Shape {
		n *= dim
	}
	values := make([]float32, n)
	if strings.HasSuffix(spec.Name, ".bias") {
		return values
	}
	if len(spec.Shape) == 1 {
		for i := range values {
			values[i] = float32(1 - d.NormOffset)
		}
		return values
	}
	deviation := d.deviation(spec.Name, len(spec.Shape))
	for i := range values {
		values[i] = float32(rng.NormFloat64() * deviation)
	}
	return values
}

// deviation is the standard deviation of a fresh matrix, smaller where its output is added
// to the residual stream; 0 for what is no matrix.
func (d Description) deviation(name string, rank int) float64 {
	switch {
	case rank == 1:
		return 0
	case strings.HasSuffix(name, O.Module()+".weight") || strings.HasSuffix(name, Down.Module()+".weight"):
		return 0.02 / math.Sqrt(2*float64(d.Layers))
	}
	return 0.02
}

// Save writes the model's tensors to path as safetensors in dtype, as its family's
// checkpoints hold them. Weights in few bits are refused.
func (m *Model) Save(path, dtype string) error {
	if m.Quant != quant.None {
		return fault.Input("model_quant "+m.Quant.String(), "load the base without it, and merge into that", "a model whose weights are rounded to few bits is not written as a checkpoint")
	}
	_, file, err := ParseDType(dtype)
	if err != nil {
		return err
	}
	var list []weights.Tensor
	for i, p := range m.held() {
		values, err := Float32s(m.Tensors[i])
		if err != nil {
			return fmt.Errorf("%s: not read from the device: %w", p.Name, err)
		}
		if m.InOut && p.linear {
			values = columns(values, p.Shape[0])
		}
		t, err := weights.FromFloat32s(p.File, p.Shape, values, file)
		if err != nil {
			return err
		}
		if p.Row > 0 { // the rows of one file's tensor follow each other
			last := &list[len(list)-1]
			last.Shape[0], last.Data = p.Row+p.Shape[0], append(last.Data, t.Data...)
			continue
		}
		list = append(list, t)
	}
	return weights.Write(path, list, map[string]string{"format": "pt"})
}

// ToDType makes a tensor of a file's values in another number format, on the host.
func ToDType(t weights.Tensor, dtype dtypes.DType) (*tensors.Tensor, error) {
	if file := fileFormat(dtype); t.DType != file {
		values, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		if t, err = weights.FromFloat32s(t.Name, t.Shape, values, file); err != nil {
			return nil, err
		}
	}
	return tensors.FromRaw(nil, 0, shapes.Make(dtype, t.Shape...), t.Data)
}

// Float32s copies a tensor of any of the number formats above to the host.
func Float32s(t *tensors.Tensor) ([]float32, error) {
	name := fileFormat(t.DType())
	if name == "" {
		return nil, fmt.Errorf("no conversion from %s to float32", t.DType())
	}
	var values []float32
	var convert error
	err := engine.Broken(t.ConstBytes(func(data []byte) {
		values, convert = weights.Tensor{Name: "device", DType: name, Shape: t.Shape().Dimensions, Data: data}.Float32s()
	}))
	if err == nil {
		err = convert
	}
	return values, err
}
