package main

import (
	"path/filepath"

	"alphalora/model"
	"alphalora/moelora"
	"alphalora/train"
)

// bestDir holds, in the output directory, what had the lowest loss of validation: an
// adapter or, in full-parameter training, a model.
const bestDir = "best"

// schedule is the learning rate of each step.
func (r *prepared) schedule() train.Schedule {
	t := r.Training
	s := train.Schedule{Kind: t.Schedule, Peak: t.LearningRate, Warmup: t.WarmupSteps, Decay: t.DecaySteps, Floor: t.MinRate, Total: r.steps}
	if s.Kind == train.WSD && s.Decay == 0 {
		s.Decay = max(1, s.Total/10)
	}
	return s
}

// validating is what the run is judged by on its way.
func (r *prepared) validating() train.Validation {
	weights := moelora.WeightsFile
	if r.adapter == nil {
		weights = modelWeights
	}
	v := train.Validation{Held: r.held, Every: r.Training.ValidateEvery, Patience: r.Training.Patience,
		Best: filepath.Join(r.Output, bestDir, weights),
		Keep: func() error { return r.saveTo(filepath.Join(r.Output, bestDir)) }}
	if v.Every == 0 {
		v.Every = r.batcher.StepsPerEpoch()
	}
	return v
}

func roles(names []string) []model.Role {
	list := make([]model.Role, len(names))
	for i, name := range names {
		list[i] = model.Role(name)
	}
	return list
}
