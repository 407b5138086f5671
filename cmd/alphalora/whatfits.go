package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"alphalora/configs"
	"alphalora/internal/engine"
	"alphalora/internal/fault"
	"alphalora/model"
	"alphalora/model/quant"
	"alphalora/moelora"
	"alphalora/train"
	"alphalora/train/data"
)

// sizing is what the memory that a run needs on each of its devices follows from.
type sizing struct {
	train.Size
	model   model.Description
	adapter *moelora.Shape // nil in full-parameter training
	devices engine.Devices
}

func (r *prepared) sizing() sizing {
	longest := r.Data.Cutoff
	if !r.Data.Packing {
		longest = 0
		for i := range r.samples.Len() {
			longest = max(longest, r.samples.Tokens(i))
		}
	}
	s := sizing{model: r.model.Description, devices: r.model.Engine.Devices}
	s.Size = train.Size{DType: r.model.DType(), Stored: r.model.Quant, Backend: r.model.Engine.Name,
		Rows: r.Training.MicroBatch, Length: data.Bucket(longest), Recompute: r.Training.GradientCheckpointing,
		Flash: r.Training.Attention == configs.FlashAttention}
	if r.adapter != nil {
		s.adapter = &r.adapter.Shape
	}
	return s
}

// need is the estimate.
func (s sizing) need() train.Memory {
	s.Rows /= max(s.devices.Count, 1)
	return train.Estimate(s.model, s.adapter, s.Size).On(s.devices, s.Backend == engine.CPU)
}

// most is how many of the rows of a micro-batch are estimated to fit.
func (s sizing) most(memory int64) int {
	rows := train.Largest(s.Rows+1, memory, func(rows int) train.Memory {
		s.Rows = rows
		return s.need()
	})
	return rows - rows%max(s.devices.Count, 1)
}

// change is what of a run can be changed so that it needs less.
type change struct {
	with string // as a configuration has it
	on   func(*train.Size)
}

func (s sizing) changes() []change {
	var list []change
	if !s.Recompute {
		list = append(list, change{"training.gradient_checkpointing", func(z *train.Size) { z.Recompute = true }})
	}
	if s.DType == "float32" && s.Backend != engine.Go {
		list = append(list, change{"training.dtype bfloat16", func(z *train.Size) { z.DType = "bfloat16" }})
	}
	for _, kind := range []quant.Kind{quant.Int8, quant.FourBit} {
		if s.Stored == quant.None && s.adapter != nil {
			list = append(list, change{"model_quant " + kind.String(), func(z *train.Size) { z.Stored = kind }})
		}
	}
	return list
}

// offer is a run that is estimated to fit.
type offer struct {
	sizing
	with []string // what differs from the run as it is, beside the rows
}

// offers are the most rows that fit as the run is, and with each change that lets more fit;
// where no change alone does, with all.
func (s sizing) offers(memory int64) (list []offer) {
	try := func(least int, changes ...change) {
		o := offer{sizing: s}
		for _, c := range changes {
			c.on(&o.Size)
			o.with = append(o.with, c.with)
		}
		if o.Rows = o.most(memory); o.Rows >= least {
			list = append(list, o)
		}
	}
	try(1)
	alone, more := len(list), s.most(memory)+1
	for _, c := range s.changes() {
		try(more, c)
	}
	if len(list) == alone {
		all := slices.DeleteFunc(s.changes(), func(c change) bool { return strings.HasSuffix(c.with, quant.Int8.String()) }) // nf4 needs less
		try(more, all...)
	}
	return list
}

// remedy tells what would fit in so much memory.
func (s sizing) remedy(memory int64) string {
	var parts []string
	for _, o := range s.offers(memory) {
		part := fmt.Sprint(o.Rows)
		if len(parts) == 0 {
			part = fmt.Sprintf("training.micro_batch %d would fit", o.Rows)
		}
		if len(o.with) > 0 {
			part += " with " + strings.Join(o.with, " and ")
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return fmt.Sprintf("not one row of %d tokens would fit, whatever is set: lower data.cutoff, or take a smaller model", s.Length)
	}
	return strings.Join(parts, ", ") + "; a lower data.cutoff needs less too"
}

// checkMemory tells what the run is estimated to need, and holds it against the device. On a
// GPU a run can have what others have left free; on the host they give memory back.
func (r *prepared) checkMemory(a *app, w io.Writer) error {
	s, eng := r.sizing(), r.model.Engine
	if r.Training.Attention == configs.FlashAttention {
		if why := r.model.FlashRefusal(s.Length, r.Data.Packing); why != "" {
			return fault.Input("training.attention flash", "use plain", "%s", why)
		}
	}
	need, remedy := s.need(), s.remedy
	total, free := train.HostMemory()
	most := total
	if eng.Name != engine.CPU && eng.Name != engine.Go {
		if total, free = eng.GPUMemory(); total == 0 {
			_, err := fmt.Fprintf(w, "%s; %s does not tell how much its device has\n", need, eng.Name)
			return err
		}
		most = free
		if len(eng.GPU.Users) > 0 {
			remedy = func(memory int64) string {
				return fmt.Sprintf("end %s, or name another GPU in CUDA_VISIBLE_DEVICES; %s", strings.Join(eng.GPU.Users, ", "), s.remedy(memory))
			}
		}
	}
	if _, err := fmt.Fprintf(w, "%s; of %.1f GB %.1f are free\n", need, float64(total)/1e9, float64(free)/1e9); err != nil {
		return err
	}
	warning, err := need.Fits(most, free, remedy)
	if warning != "" {
		a.say("warning: %s", warning)
	}
	return err
}
