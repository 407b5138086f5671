package moelora

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"alphalora/internal/atomicfile"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/weights"
)

// CheckMergeable tells why an adapter is no change of the weights, naming the layers.
func (a *Adapter) CheckMergeable() error {
	if list := a.several(); list != "" {
		return fault.Input("merge", "keep the adapter beside its base, or use export --format released",
			"a router chooses experts for each token, which no single matrix does; these layers have several: %s", list)
	}
	return nil
}

// patch is what an adapter adds to rows of a weight: scale · b·a. With lengths each row is
// then given its own.
type patch struct {
	rows
	lora
}

// merger writes a checkpoint anew with the patches in it.
type merger struct {
	base    *weights.Set
	patches map[string][]patch // by the weight's name in the checkpoint
	format  weights.DType      // "": as each tensor has it
	last    weights.Tensor     // whose pages can be given back
	done    func(tensor string)
}

// Merge writes into dir the checkpoint of the adapter's base at baseDir with W + scale·B·A
// (of dora with its rows' lengths) in place of each adapted weight: sums in f32, rounded once to dtype ("file": as each
// tensor has it). Other tensors are copied byte for byte unless dtype is another format,
// in the base's shards. One tensor at a time is held. done, if not nil, hears of each.
func (a *Adapter) Merge(ctx context.Context, baseDir, dir, dtype string, done func(tensor string)) error {
	if err := a.CheckMergeable(); err != nil {
		return err
	}
	set, err := weights.Open(baseDir)
	if err != nil {
		return err
	}
	defer func() { _ = set.Close() }()
	if err := set.Check(a.Specs()); err != nil {
		return err
	}
	m := &merger{base: set, done: done}
	if dtype != model.FileDType {
		if _, m.format, err = model.ParseDType(dtype); err != nil {
			return err
		}
	}
	if m.patches, err = a.patches(); err != nil {
		return err
	}
	return m.write(ctx, dir)
}

// patches finds the additions to each weight of the checkpoint.
func (a *Adapter) patches() (map[string][]patch, error) {
	values, err := a.Values()
	if err != nil {
		return nil, err
	}
	all := map[string][]patch{}
	for _, at := range places(a.Description) {
		for _, part := range a.adapted(at) {
			p := patch{rows: part, lora: lora{rank: a.Rank, scale: a.Scale()}}
			if p.a, err = values[expertName(at.layer, part.site, "A", 0)].Float32s(); err != nil {
				return nil, err
			}
			if p.b, err = values[expertName(at.layer, part.site, "B", 0)].Float32s(); err != nil {
				return nil, err
			}
			if a.Kind.Magnitude {
				if p.lengths, err = values[lengthName(at.layer, part.site)].Float32s(); err != nil {
					return nil, err
				}
			}
			all[at.name] = append(all[at.name], p)
		}
	}
	return all, nil
}

// write writes every file of the base anew, and the index where there is one.
func (m *merger) write(ctx context.Context, dir string) error {
	files := map[string][]weights.Tensor{}
	index := map[string]string{}
	total := 0
	for _, name := range m.base.Names() {
		t, _ := m.base.Get(name)
		file := filepath.Base(t.File)
		if m.format != "" {
			t.DType = m.format
		}
		files[file], index[name] = append(files[file], t), file
		size, err := t.Size()
		if err != nil {
			return err
		}
		total += size
	}
	metadata := maps.Clone(m.base.Metadata())
	if metadata["format"] == "" {
		metadata = map[string]string{"format": "pt"} // transformers reads no file without it
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		err := weights.Stream(filepath.Join(dir, file), files[file], metadata, func(t weights.Tensor) ([]byte, error) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			defer m.tell(t.Name)
			return m.data(t.Name, t.DType)
		})
		if err != nil {
			return err
		}
	}
	if _, single := files[weights.SingleFile]; single && len(files) == 1 {
		return nil
	}
	data, err := json.MarshalIndent(map[string]any{"metadata": map[string]int{"total_size": total}, "weight_map": index}, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, weights.IndexFile), append(data, '\n'))
}

func (m *merger) tell(name string) {
	if m.done != nil {
		m.done(name)
	}
}

// data is a tensor of the base as the merged checkpoint holds it.
func (m *merger) data(name string, as weights.DType) ([]byte, error) {
	m.last.Release()
	t, _ := m.base.Get(name)
	m.last = t
	if m.patches[name] == nil && t.DType == as {
		return t.Data, nil
	}
	values, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	for _, p := range m.patches[name] {
		in := t.Shape[1]
		p.addTo(values[p.from*in:(p.from+p.size)*in], in)
	}
	merged, err := weights.FromFloat32s(name, t.Shape, values, as)
	if err != nil {
		return nil, err
	}
	if merged.CheckFinite() != nil {
		return nil, fault.Input(fmt.Sprintf("%s: tensor %s", t.File, name), "use --dtype float32", "is not finite in %s with the adapter in it", as)
	}
	return merged.Data, nil
}

// addTo adds scale·b·a to w [size, in]; the cores share the rows.
func (p patch) addTo(w []float32, in int) {
	workers := min(runtime.GOMAXPROCS(0), p.size)
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			delta := make([]float32, in)
			for row := p.size * worker / workers; row < p.size*(worker+1)/workers; row++ {
				clear(delta)
				for k, b := range p.b[row*p.rank : (row+1)*p.rank] {
					for i, v := range p.a[k*in : (k+1)*in] {
						delta[i] += b * v
					}
				}
				for i, v := range delta {
					w[row*in+i] += float32(p.scale) * v
				}
				if p.lengths != nil {
					stretch(w[row*in:(row+1)*in], p.lengths[row])
				}
			}
		})
	}
	wait.Wait()
}

// stretch gives a row a length; one of zeros stays.
func stretch(row []float32, length float32) {
	squares := 0.0
	for _, v := range row {
		squares += float64(v) * float64(v)
	}
	if squares == 0 {
		return
	}
	factor := float32(float64(length) / math.Sqrt(squares))
	for i := range row {
		row[i] *= factor
	}
}

// carried lists the ends of the names of a model directory's other files that belong to a
// merged model too: configuration, tokenizer, templates, licence.
var carried = []string{".json", ".model", ".jinja", ".tiktoken", "merges.txt", "vocab.txt", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt", "USE_POLICY.md"}

// CopyConfiguration copies what a model directory holds beside its weights, config.json
// with its number format set to dtype unless that is "file". It returns the names of the
// files that were left.
func CopyConfiguration(from, to, dtype string) (left []string, err error) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil, fault.Input(from, "give a model directory", "cannot be read: %v", fault.Reason(err))
	}
	for _, entry := range entries {
		name := entry.Name()
		if filepath.Ext(name) == ".safetensors" || name == weights.IndexFile {
			continue
		}
		info, err := os.Stat(filepath.Join(from, name))
		if err != nil || !info.Mode().IsRegular() || !slices.ContainsFunc(carried, func(end string) bool {
			return name == end || (end[0] == '.' && filepath.Ext(name) == end)
		}) {
			left = append(left, name)
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(from, name), err)
		}
		if name == "config.json" && dtype != model.FileDType {
			if data, err = withDType(data, dtype); err != nil {
				return nil, err
			}
		}
		if err := atomicfile.WriteBytes(filepath.Join(to, name), data); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// withDType sets the number format that a config.json states.
func withDType(data []byte, dtype string) ([]byte, error) {
	_, file, err := model.ParseDType(dtype)
	if err != nil {
		return nil, err
	}
	name := map[weights.DType]string{weights.F32: "float32", weights.BF16: "bfloat16", weights.F16: "float16"}[file]
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	for _, key := range []string{"torch_dtype", "dtype"} {
		if _, ok := fields[key]; ok || key == "dtype" {
			fields[key] = json.RawMessage(strconv.Quote(name))
		}
	}
	data, err = json.MarshalIndent(fields, "", "  ")
	return append(data, '\n'), err
}
