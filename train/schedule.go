package train

import "math"

// Kinds of schedules.
const (
	Linear   = "linear"
	Cosine   = "cosine"
	Constant = "constant"
	WSD      = "wsd" // warm-up, stable, decay
)

// Schedules lists the kinds.
func Schedules() []string { return []string{Linear, Cosine, Constant, WSD} }

// Schedule gives the learning rate of each step.
type Schedule struct {
	Kind   string  // one of Schedules
	Peak   float64 // the rate at the end of the warm-up
	Warmup int     // steps of linear growth from 0
	Decay  int     // wsd: the last steps, in which the rate falls
	Floor  float64 // what the rate falls to, as a share of Peak, 0 to 1; constant never falls
	Total  int     // steps of the run
}

// Rate is the learning rate of a step s counted from 0. It grows as Peak · s / Warmup; from
// then on it is Peak · (Floor + (1 - Floor) · f), where x goes from 0 at the end of the
// warm-up to 1 after the last step:
//
//	linear    f = 1 - x
//	cosine    f = (1 + cos πx) / 2
//	constant  f = 1
//	wsd       f = 1 up to the last Decay steps, and (1 + cos πy) / 2 in them, y going from 0 to 1
//
// Sources: transformers' get_linear_schedule_with_warmup, get_cosine_with_min_lr_schedule_with_warmup
// (Loshchilov and Hutter, 2017), get_constant_schedule_with_warmup and get_wsd_schedule
// (Hu et al., MiniCPM, 2024). The last one's warm-up starts at its floor, here at 0.
func (s Schedule) Rate(step int) float64 {
	if step < s.Warmup {
		return s.Peak * float64(step) / float64(s.Warmup)
	}
	return s.Peak * (s.Floor + (1-s.Floor)*s.shape(step))
}

// shape is f of [Schedule.Rate].
func (s Schedule) shape(step int) float64 {
	switch s.Kind {
	case Linear:
		return 1 - passed(step, s.Warmup, s.Total)
	case Cosine:
		return halfWave(passed(step, s.Warmup, s.Total))
	case WSD:
		return halfWave(passed(step, max(s.Warmup, s.Total-s.Decay), s.Total))
	default:
		return 1
	}
}

// passed is how much of the way between two steps is done, 0 to 1.
func passed(step, from, to int) float64 {
	return min(1, max(0, float64(step-from)/float64(max(1, to-from))))
}

func halfWave(x float64) float64 { return (1 + math.Cos(math.Pi*x)) / 2 }
