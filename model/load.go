package model

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model/weights"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
)

// Model is a decoder whose weights lie on the device.
type Model struct {
	Description
	*Params
	Engine      *engine.Engine
	Dir         string
	Fingerprint string // of the checkpoint's tensors; empty for a random model
}

// ParseDType reads a configuration's name of a number format.
func ParseDType(name string) (dtypes.DType, weights.DType, error) {
	switch name {
	case "float32", "f32":
		return dtypes.Float32, weights.F32, nil
	case "bfloat16", "bf16":
		return dtypes.BFloat16, weights.BF16, nil
	case "float16", "f16":
		return dtypes.Float16, weights.F16, nil
	}
	return dtypes.InvalidDType, "", fault.Input("dtype "+name, "use float32, bfloat16 or float16", "no such number format")
}

// Load reads a model directory: config.json, then every tensor that it asks for, in
// dtype ("float32", …). Missing, unexpected, mis-shaped and non-finite tensors are errors.
func Load(ctx context.Context, eng *engine.Engine, dir, dtype string) (*Model, error) {
	d, err := ReadDescription(dir)
	if err != nil {
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
	m := &Model{Description: d, Params: &Params{}, Engine: eng, Dir: dir, Fingerprint: set.Fingerprint()}
	for _, p := range d.held() {
		if err := ctx.Err(); err != nil {
			m.Free()
			return nil, err
		}
		t, _ := set.Get(p.File)
		if err := m.upload(p.view(t), dtype); err != nil {
			m.Free()
			return nil, err
		}
	}
	return m, nil
}

// upload moves one tensor from the mapped file to the device, converting it where the
// file's number format is another one.
func (m *Model) upload(t weights.Tensor, dtype string) error {
	if err := t.CheckFinite(); err != nil {
		return err
	}
	device, file, err := ParseDType(dtype)
	if err != nil {
		return err
	}
	if t.DType != file {
		values, err := t.Float32s()
		if err != nil {
			return err
		}
		if t, err = weights.FromFloat32s(t.Name, t.Shape, values, file); err != nil {
			return err
		}
	}
	tensor, err := tensors.FromRaw(m.Engine.Backend, 0, shapes.Make(device, t.Shape...), t.Data)
	if err != nil {
		return fmt.Errorf("%s: not moved to the device: %w", t.Name, err)
	}
	m.Add(t.Name, tensor)
	return nil
}

// NewRandom makes a model of d with fresh weights: projections and embeddings normal
// with deviation 0.02, those that write to the residual stream divided by √(2·layers),
// norms at their neutral value, biases zero. Source of the scaling: Radford et al., 2019.
func NewRandom(eng *engine.Engine, d Description, dtype string, seed uint64) (*Model, error) {
	m := &Model{Description: d, Params: &Params{}, Engine: eng}
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
		if err := m.upload(t, dtype); err != nil {
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
	deviation := 0.02
	if strings.HasSuffix(spec.Name, O.Module()+".weight") || strings.HasSuffix(spec.Name, Down.Module()+".weight") {
		deviation /= math.Sqrt(2 * float64(d.Layers))
	}
	for i := range values {
		values[i] = float32(rng.NormFloat64() * deviation)
	}
	return values
}

// Save writes the model's tensors to path as safetensors in dtype, as its family's
// checkpoints hold them.
func (m *Model) Save(path, dtype string) error {
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

// formats pairs the device's number formats with the files'.
var formats = map[dtypes.DType]weights.DType{dtypes.Float32: weights.F32, dtypes.BFloat16: weights.BF16, dtypes.Float16: weights.F16}

// ToDType makes a tensor of a file's values in another number format, on the host.
func ToDType(t weights.Tensor, dtype dtypes.DType) (*tensors.Tensor, error) {
	if t.DType != formats[dtype] {
		values, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		if t, err = weights.FromFloat32s(t.Name, t.Shape, values, formats[dtype]); err != nil {
			return nil, err
		}
	}
	return tensors.FromRaw(nil, 0, shapes.Make(dtype, t.Shape...), t.Data)
}

// Float32s copies a tensor of any of the number formats above to the host.
func Float32s(t *tensors.Tensor) ([]float32, error) {
	name, ok := formats[t.DType()]
	if !ok {
		return nil, fmt.Errorf("no conversion from %s to float32", t.DType())
	}
	var values []float32
	var convert error
	err := t.ConstBytes(func(data []byte) {
		values, convert = weights.Tensor{Name: "device", DType: name, Shape: t.Shape().Dimensions, Data: data}.Float32s()
	})
	if err == nil {
		err = convert
	}
	return values, err
}
