package train

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSchedules holds the rates against transformers' formulas, as its optimization.py has
// them, written down here once more; docs/training.md tells how the two were compared.
func TestSchedules(t *testing.T) {
	const warmup, total, decay, peak = 7, 50, 11, 3e-4
	warm := func(s float64) float64 { return s / warmup }
	after := func(s float64) float64 { return (s - warmup) / (total - warmup) }
	for kind, factor := range map[string]func(s, floor float64) float64{
		Linear:   func(s, floor float64) float64 { return floor + (1-floor)*max(0, (total-s)/(total-warmup)) },
		Constant: func(float64, float64) float64 { return 1 },
		Cosine: func(s, floor float64) float64 {
			return max(0, 0.5*(1+math.Cos(math.Pi*0.5*2*after(s))))*(1-floor) + floor
		},
		WSD: func(s, floor float64) float64 {
			if s < total-decay {
				return 1
			}
			return 0.5*(1+math.Cos(math.Pi*0.5*2*(s-(total-decay))/decay))*(1-floor) + floor
		},
	} {
		for _, floor := range []float64{0, 0.1, 1} {
			schedule := Schedule{Kind: kind, Peak: peak, Warmup: warmup, Decay: decay, Floor: floor, Total: total}
			for step := range total {
				want := peak * warm(float64(step))
				if step >= warmup {
					want = peak * factor(float64(step), floor)
				}
				require.InDelta(t, want, schedule.Rate(step), 1e-12, "%s, floor %v, step %d", kind, floor, step)
			}
			require.Zero(t, schedule.Rate(0))
			require.Equal(t, float64(peak), schedule.Rate(warmup))
			if kind != Constant {
				require.InDelta(t, peak*floor, schedule.Rate(total), 1e-12, "%s ends at its floor", kind)
				require.InDelta(t, peak*floor, schedule.Rate(total+5), 1e-12, "and stays there")
			}
			schedule.Warmup = 0
			require.Equal(t, float64(peak), schedule.Rate(0), "without a warm-up the first step is at the peak")
		}
	}
	require.ElementsMatch(t, []string{Linear, Cosine, Constant, WSD}, Schedules())
}
